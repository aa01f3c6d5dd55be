"""Makes the server's end of each connection."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from zeotwisted.access import OPEN, Access

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
    :ivar access: the roles of the clients.
    """

    noisy = False

    def __init__(
        self,
        storages: Mapping[str, ServedStorage],
        options: ServerOptions,
        clock: IReactorTime,
        access: Access = OPEN,
    ) -> None:
        self.clients = Clients(storages, options, clock)
        self.access = access

    def buildProtocol(self, addr: IAddress | None) -> StorageServerProtocol:
        return StorageServerProtocol(self.clients, addr, self.access)

    def with_access(self, access: Access) -> StorageServerFactory:
        """Return a factory for another address, where clients have other roles.

        Both factories have the same `clients`.
        """
        other = copy.copy(self)
        other.access = access
        return other
