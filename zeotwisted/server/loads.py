"""Loads from storages that may take their time, such as clients of another server.

A load in a thread may finish after a commit that changes the object has been published. Its answer
would then follow the invalidation, and the client would take the old revision for the current one.
Therefore such an answer is thrown away, and the load is done again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

__all__ = ["Loads", "answers_at_once"]

Revision: TypeAlias = "tuple[bytes, bytes, bytes | None] | None"


def answers_at_once(storage: Any) -> bool:
    """Return whether loads from `storage` are so fast that a thread would only slow them down."""
    if isinstance(storage, DemoStorage):
        return answers_at_once(storage.base) and answers_at_once(storage.changes)
    return isinstance(storage, (FileStorage, MappingStorage))


class _Load:
    """One load that is under way."""

    __slots__ = ("stale",)

    def __init__(self) -> None:
        #: Whether a change of the object has been published since it began.
        self.stale = False


class Loads:
    """Loads in threads, for one storage. All methods belong to the reactor's thread.

    :param storage: must allow concurrent loads, as ZODB's own databases ask of it.
    :param in_thread: runs a function in some thread.
    """

    def __init__(self, storage: Any, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._storage = storage
        self._in_thread = in_thread
        self._under_way: defaultdict[bytes, set[_Load]] = defaultdict(set)

    async def load_before(self, oid: bytes, tid: bytes) -> Revision:
        """Return what the storage's ``loadBefore`` does; raise what it raises."""
        while True:
            load = _Load()
            self._under_way[oid].add(load)
            try:
                revision: Revision = await self._in_thread(self._storage.loadBefore, oid, tid)
            finally:
                self._forget(oid, load)
            if not load.stale:
                return revision

    def _forget(self, oid: bytes, load: _Load) -> None:
        loads = self._under_way[oid]
        loads.discard(load)
        if not loads:
            del self._under_way[oid]

    def changed(self, oids: Iterable[bytes]) -> None:
        """A transaction that changed `oids` is being published."""
        if not self._under_way:
            return
        for oid in oids:
            for load in self._under_way.get(oid, ()):
                load.stale = True
