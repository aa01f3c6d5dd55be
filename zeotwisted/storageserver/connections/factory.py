"""Makes the server's end of each connection."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol

from zeotwisted.access import OPEN, Access

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
    :ivar access: the roles of the clients.
    """

    noisy = False

    def __init__(
        self,
        storages: Mapping[str, ServedStorage],
        options: ServerOptions,
        clock: IReactorTime,
        access: Access = OPEN,
        limits: Limits | None = None,
    ) -> None:
        self.clients = Clients(storages, options, clock, limits or Limits(options, clock))
        self.access = access
        self._refusals = Refusals(self.clients)

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        reason = self.clients.limits.admission.refusal(host_of(addr))
        if reason is None:
            return StorageServerProtocol(self.clients, addr, self.access)
        return self._refusals.refuse(addr, reason)

    def with_access(self, access: Access) -> StorageServerFactory:
        """Return a factory for another address, where clients have other roles.

        Both factories have the same `clients`.
        """
        other = copy.copy(self)
        other.access = access
        return other
