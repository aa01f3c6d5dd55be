"""Facts about the server's storage: its identity, its size, and its features."""

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
    """Facts about the server's storage.

    The server sends them when a client connects, after its own commits, and after a pack. It does
    not send them after commits of other clients, because the size is rarely needed. So `current`
    asks the server if there was a transaction since the last full answer.

    :param last_transaction: returns the last transaction that this client has seen.
    :ivar server: the name of the server's address; None before the first connection.
    :ivar identity: identifies the served storage uniquely.
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
        # The last transaction that the facts include.
        self._as_of: bytes | None = None

    def __getitem__(self, name: str) -> Any:
        return self._facts[name]

    def connected(
        self, protocol: ClientProtocol, facts: Mapping[str, Any], storage_id: str
    ) -> None:
        """Take all facts from a server, after the client has applied the missed invalidations.

        :param protocol: the connection that is about to be used.
        :param storage_id: the storage's name at the server.
        """
        self._facts.update(facts)
        self._as_of = self._last_transaction()
        self.server = _peer_name(protocol.connected_to)
        # ZEO's server sends no instance. Its address may differ between two clients of one server.
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
        """Take facts that the server has sent on its own."""
        self._facts.update(facts)

    def current(self, name: str, ask: Callable[[], Mapping[str, Any] | None]) -> Any:
        """Return a fact as of the last transaction.

        :param ask: asks the server for all facts. If it returns None, the last known fact is
            returned.
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
