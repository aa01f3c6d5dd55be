"""Makes the server's end of each connection."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol

from ..limits import Limits, host_of
from ..options import ServerOptions
from ..storage import ServedStorage
from .clients import Clients
from .protocol import StorageServerProtocol
from .refusals import Refusals

__all__ = ["StorageServerFactory"]


class StorageServerFactory(Factory):
    """Makes a protocol for each client, or one that refuses it.

    :param storages: the served storages by name.
    :param clock: the reactor.
    :param limits: what clients may have; None to make the limits of `options`.
    :ivar clients: the connections, and the state that they share.
    """

    noisy = False

    def __init__(
        self,
        storages: Mapping[str, ServedStorage],
        options: ServerOptions,
        clock: IReactorTime,
        limits: Limits | None = None,
    ) -> None:
        self.clients = Clients(storages, options, clock, limits or Limits(options, clock))
        self._refusals = Refusals(self.clients)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        reason = self.clients.limits.admission.refusal(host_of(addr))
        if reason is None:
            return StorageServerProtocol(self.clients, addr)
        return self._refusals.refuse(addr, reason)
