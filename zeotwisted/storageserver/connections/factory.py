"""Makes the server's end of each connection."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from ..options import ServerOptions
from ..storage import ServedStorage
from .clients import Clients
from .protocol import StorageServerProtocol

__all__ = ["StorageServerFactory"]


class StorageServerFactory(Factory):
    """Makes a protocol for each client.

    :param storages: the served storages by name.
    :param clock: the reactor.
    :ivar clients: the connections, and the state that they share.
    """

    noisy = False

    def __init__(
        self,
        storages: Mapping[str, ServedStorage],
        options: ServerOptions,
        clock: IReactorTime,
    ) -> None:
        self.clients = Clients(storages, options, clock)

    def buildProtocol(self, addr: IAddress | None) -> StorageServerProtocol:
        return StorageServerProtocol(self.clients, addr)
