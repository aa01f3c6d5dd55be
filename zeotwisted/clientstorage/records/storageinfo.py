"""What the server tells of its storage: which one it is, how large it is, and what it can do."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from ZODB import interfaces

from ..calls import ClientProtocol

__all__ = ["StorageInfo"]

#: What a client provides if the served storage does.
_OPTIONAL_INTERFACES = (
    interfaces.IStorageRestoreable,
    interfaces.IStorageIteration,
    interfaces.IStorageUndoable,
    interfaces.IStorageCurrentRecordIteration,
    interfaces.IExternalGC,
)


class StorageInfo:
    """The server's facts about its storage.

    Servers tell them when a client connects, after its own commits, and after a pack. Commits of
    other clients change how large the storage is, too. To tell everybody would cost each client
    something for each commit, for what is hardly ever asked; so `current` asks the server, if there
    has been a transaction since the facts were told.

    :param last_transaction: tells the last transaction that this client has heard of.
    :ivar server: the name of the server's address; None before the first connection.
    :ivar identity: what tells the served storage from all others in the world.
    :ivar keeps_blobs: whether the served storage has blobs.
    """

    def __init__(self, last_transaction: Callable[[], bytes]) -> None:
        self.server: str | None = None
        self.identity: tuple[str, str] = ("", "")
        self.keeps_blobs = False
        self._restores_blobs = False
        self._last_transaction = last_transaction
        self._facts: dict[str, Any] = {
            "length": 0,
            "size": 0,
            "name": "ZEO Client",
            "supportsUndo": False,
            "interfaces": (),
        }
        # The last transaction that they take into account.
        self._as_of: bytes | None = None

    def __getitem__(self, name: str) -> Any:
        return self._facts[name]

    def connected(
        self, protocol: ClientProtocol, facts: Mapping[str, Any], storage_id: str
    ) -> None:
        """A server has told all facts, right after all that had been missed.

        :param protocol: the connection that is about to be used.
        :param storage_id: the storage's name at the server.
        """
        self._facts.update(facts)
        self._as_of = self._last_transaction()
        self.server = _peer_name(protocol.connected_to)
        # A stock server does not tell, and has an address for each way to reach it.
        self.identity = (facts.get("instance") or self.server, storage_id)
        restores = self._is_provided(interfaces.IBlobStorageRestoreable)
        self._restores_blobs = restores and protocol.is_extended
        self.keeps_blobs = restores or self._is_provided(interfaces.IBlobStorage)

    def provided(self, with_blobs: bool) -> list[Any]:
        """Return the optional interfaces that a client provides at this server.

        :param with_blobs: whether the client has a folder for blobs.
        """
        found = [each for each in _OPTIONAL_INTERFACES if self._is_provided(each)]
        if self._restores_blobs and with_blobs:
            found.append(interfaces.IBlobStorageRestoreable)
        return found

    def _is_provided(self, interface: Any) -> bool:
        name = (interface.__module__, interface.__name__)
        return name in map(tuple, self._facts["interfaces"])

    def update(self, facts: Mapping[str, Any]) -> None:
        """A server has told some of the facts, on its own."""
        self._facts.update(facts)

    def current(self, name: str, ask: Callable[[], Mapping[str, Any] | None]) -> Any:
        """Return a fact as of the last transaction.

        :param ask: asks the server for all facts. None: it cannot be asked now, and the last known
            one has to do.
        """
        last = self._last_transaction()
        if last != self._as_of:
            facts = ask()
            if facts is not None:
                self._facts.update(facts)
                self._as_of = last
        return self._facts[name]


def _peer_name(address: Any) -> str:
    host = getattr(address, "host", None)
    if host is not None:
        return str((host, address.port))
    name = getattr(address, "name", b"")
    return os.fsdecode(name) if name else "local"
