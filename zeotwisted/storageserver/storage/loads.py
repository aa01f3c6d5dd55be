"""Loads of many records at a time, and loads from slow storages.

For example, a storage that is a client of another server is slow.

A load in a thread may end after a commit that changes the object has been published. Its answer
would then follow the invalidation, and the client would take the old revision for the current one.
Therefore such an answer is discarded, and the load is repeated.

Clients that ask for the same record at the same time share one load.

Few loads run at a time, and clients whose loads wait get their turns in a circle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.interfaces import IPrefetchStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError

from ..engine import Records
from ..turns import FairTurns
from .recordcache import Revision

__all__ = [
    "ENOUGH_BYTES",
    "MOST_LOADS",
    "Loads",
    "RecordsInThreads",
    "answers_at_once",
    "load_many_before",
]

#: After this many bytes of data, or seconds, an answer is sent without the remaining records:
#: other clients wait in the meantime.
ENOUGH_BYTES = 2**18
_ENOUGH_TIME = 0.004

#: How many loads of one storage run in threads at the same time.
MOST_LOADS = 8


def answers_at_once(storage: Any) -> bool:
    """Return whether loads from `storage` are so fast that a thread would only slow them down."""
    if isinstance(storage, DemoStorage):
        return answers_at_once(storage.base) and answers_at_once(storage.changes)
    return isinstance(storage, (FileStorage, MappingStorage))


def load_many_before(
    load_before: Callable[[bytes, bytes], Revision],
    oids: Iterable[bytes],
    tid: bytes,
    seconds: Callable[[], float] = monotonic,
) -> list[Revision | bool]:
    """Return the results of `load_before` for `oids`, or only for the first few of them.

    False means that the object does not exist. A very long record is only returned alone.

    :param seconds: returns the time in seconds.
    :raises Exception: `load_before` raises it for the first oid.
    """
    answer: list[Revision | bool] = []
    size = 0
    end = seconds() + _ENOUGH_TIME
    for oid in oids:
        try:
            revision = load_before(oid, tid)
        except POSKeyError:
            answer.append(False)
        except Exception:
            if not answer:
                raise
            # The client's next call gets this error.
            break
        else:
            length = 0 if revision is None else len(revision[0])
            if length > ENOUGH_BYTES and answer:
                break
            answer.append(revision)
            size += length
        if size >= ENOUGH_BYTES or seconds() >= end:
            break
    return answer


#: The result of a load that failed, or has to be repeated.
_NOTHING = object()


class _Load:
    """One load that a thread is doing.

    :ivar stale: whether a change of the object has been published since the load began.
    :ivar sharing: those who wait for its result, too.
    """

    __slots__ = ("sharing", "stale")

    def __init__(self) -> None:
        self.stale = False
        self.sharing: list[Deferred[Any]] = []


class RecordsInThreads:
    """See `engine.Records`.

    :param storage: must allow concurrent loads, as ZODB's own databases require.
    :param in_thread: runs a function in some thread.
    """

    def __init__(self, storage: Any, in_thread: Callable[..., Deferred[Any]]) -> None:
        self._storage = storage
        self._in_thread = in_thread

    def load_before(self, oid: bytes, tid: bytes) -> Deferred[Any]:
        return self._in_thread(self._storage.loadBefore, oid, tid)

    def load_many_before(self, oids: Sequence[bytes], tid: bytes) -> Deferred[list[Any]]:
        return self._in_thread(self._load_many, oids, tid)

    def _load_many(self, oids: Sequence[bytes], tid: bytes) -> list[Revision | bool]:
        if IPrefetchStorage.providedBy(self._storage):
            # Such a storage may load many objects faster than one after the other.
            self._storage.prefetch(oids, tid)
        return load_many_before(self._storage.loadBefore, oids, tid)

    def close(self) -> None:
        """The server ends the threads."""


class Loads:
    """Loads that take their time, for one storage. Call all methods in the reactor's thread.

    :param most: how many loads run at the same time.
    """

    def __init__(self, records: Records, most: int = MOST_LOADS) -> None:
        self._records = records
        self._turns = FairTurns(most)
        self._under_way: defaultdict[bytes, set[_Load]] = defaultdict(set)
        # Those that have their turn, by the oid and the tid.
        self._running: dict[tuple[bytes, bytes], _Load] = {}

    def leave(self, client: object) -> None:
        """Drop the loads of a client that is gone, except those that run."""
        self._turns.leave(client)

    async def load_before(self, client: object, oid: bytes, tid: bytes) -> Revision:
        """Return the result of the storage's ``loadBefore``, or raise its exception."""
        running = self._running.get((oid, tid))
        if running is not None:
            # Clients that start together want the same records.
            shared: Deferred[Any] = Deferred()
            running.sharing.append(shared)
            revision = await shared
            if revision is not _NOTHING:
                found: Revision = revision
                return found
        while True:
            load = _Load()
            self._under_way[oid].add(load)
            result: Any = _NOTHING
            try:
                revision = await self._turns.run(client, self._run, load, oid, tid)
                if revision is FairTurns.LEFT:
                    return None
                if not load.stale:
                    result = revision
                    return result
            finally:
                self._forget(oid, load)
                if self._running.get((oid, tid)) is load:
                    del self._running[oid, tid]
                for each in load.sharing:
                    each.callback(result)

    def _run(self, load: _Load, oid: bytes, tid: bytes) -> Deferred[Any]:
        # Not before: a client that has many loads waiting must not keep others waiting for them.
        self._running.setdefault((oid, tid), load)
        return self._records.load_before(oid, tid)

    async def load_many_before(
        self, client: object, oids: Sequence[bytes], tid: bytes
    ) -> list[Revision | bool]:
        """Return the results for the first few of `oids`, as the function `load_many_before`."""
        while True:
            loads = [(oid, _Load()) for oid in oids]
            for oid, load in loads:
                self._under_way[oid].add(load)
            try:
                answer = await self._turns.run(client, self._records.load_many_before, oids, tid)
            finally:
                for oid, load in loads:
                    self._forget(oid, load)
            if answer is FairTurns.LEFT:
                return []
            stale = (number for number, (_, load) in enumerate(loads) if load.stale)
            fresh: list[Revision | bool] = answer[: next(stale, None)]
            if fresh:
                return fresh

    def _forget(self, oid: bytes, load: _Load) -> None:
        loads = self._under_way[oid]
        loads.discard(load)
        if not loads:
            del self._under_way[oid]

    def changed(self, oids: Iterable[bytes]) -> None:
        """Mark the loads of `oids` as stale. Call it when a transaction is published."""
        if not self._under_way:
            return
        for oid in oids:
            for load in self._under_way.get(oid, ()):
                load.stale = True

    def all_changed(self) -> None:
        """Mark all loads as stale. Call it when it is not known what has changed."""
        for loads in self._under_way.values():
            for load in loads:
                load.stale = True
