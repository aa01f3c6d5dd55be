"""Which records an application uses, and which its client was sent besides."""

from __future__ import annotations

from typing import Any

__all__ = ["Recorder"]


class Recorder:
    """A client's storage, which notes what is loaded from it.

    :param storage: opened just now, with an empty cache that has room for everything.
    """

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._used: set[tuple[bytes, bytes]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        loaded = self._storage.loadBefore(oid, tid)
        if loaded is not None:
            self._used.add((oid, loaded[1]))
        return loaded

    def unused(self) -> int:
        """Return how many records came that nobody has asked for so far.

        None come to ZEO's client, which has no such counter.
        """
        statistics = getattr(self._storage, "cache_statistics", None)
        return statistics()["stores"] - len(self._used) if statistics else 0
