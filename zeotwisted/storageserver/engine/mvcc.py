"""Serves any `IMVCCStorage`: the daemon asks the storage what other processes have committed.

It asks every few milliseconds while there are commits, and up to every quarter of a second while
there are none. Transactions of the daemon's own clients are noticed at once. One of them at a time
is between its vote and its end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any

from twisted.logger import Logger
from ZODB.Connection import TransactionMetaData
from ZODB.interfaces import IStorageUndoable
from ZODB.utils import p64, u64, z64

from .engine import News, OwnCommit
from .housekeeping import Housekeeping
from .instances import Instances, refresh
from .newsreader import Batch, LostTrack, NewsReader
from .sharedstorage import SharedStorage

__all__ = ["Mvcc"]

#: How long (seconds) to wait before asking again: after a transaction, and at most.
_SHORTEST = 0.005
_LONGEST = 0.25


class Mvcc:
    """See `engine.Engine`.

    :param storage_id: its name for messages.
    :param storage: provides `IMVCCStorage`.
    """

    _log = Logger()
    is_shared = True
    votes = 1
    is_replica = False
    marks = False
    records = None

    def __init__(self, storage_id: str, storage: Any) -> None:
        self._name = storage_id
        self._instances = Instances(storage)
        self._commits = _Commits()
        self.storage = SharedStorage(storage, self._instances)
        self._source = _Poll(self.storage, self._instances, self._commits)
        measure, rest = self.storage.measure, self._instances.rest
        self._housekeeping = Housekeeping(storage_id, measure, rest)
        self._reader: NewsReader | None = None
        self._source.begin()
        self.storage.measure()

    def prepare(self, function: Callable[[Any], object]) -> None:
        self._instances.prepare(function)

    def lease(self) -> Any:
        return self._instances.lease()

    def give_back(self, storage: Any, is_sound: bool = True) -> None:
        self._instances.give_back(storage, is_sound)

    def forget(self) -> None:
        self._instances.forget()

    def voted(self, storage: Any) -> bytes | None:
        return None

    def knows(self, tid: bytes) -> bool:
        if not IStorageUndoable.providedBy(self.storage):
            return False
        return any(each.tid == tid for each in self.storage.iterator(tid, tid))

    def outcome(self, mark: bytes) -> bytes | None:
        raise NotImplementedError("there are no marks")

    def finish(self, storage: Any, transaction: TransactionMetaData, own: OwnCommit) -> None:
        with self._commits.finishing():
            tid = storage.tpc_finish(transaction)
            self._commits.add(tid or storage.lastTransaction(), own)
        self._source.wake()

    def start(self, news: News) -> None:
        self._log.info(
            "storage {name!r} is asked for the commits of other processes every "
            "{shortest:g} to {longest:g} seconds",
            name=self._name,
            shortest=_SHORTEST,
            longest=_LONGEST,
        )
        self._reader = NewsReader(self._name, self._source, news)
        self._reader.start()
        self._housekeeping.start()

    def refresh(self, done: Callable[[], object]) -> None:
        assert self._reader is not None
        self._reader.refresh(done)

    def stop(self) -> None:
        if self._reader is not None:
            self._reader.stop()
        self._housekeeping.stop()
        self._instances.close()


class _Commits:
    """The transactions of our clients that have been committed, and not been told of yet."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._own: dict[bytes, OwnCommit] = {}

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """While one of them is finishing, nobody may ask the database for news.

        Its tid is only known afterwards, so it would be taken for another process's.
        """
        with self._lock:
            yield

    def add(self, tid: bytes, own: OwnCommit) -> None:
        self._own[tid] = own

    def all(self) -> dict[bytes, OwnCommit]:
        """Return all, by their tids."""
        return dict(self._own)

    def remove(self, own: dict[bytes, OwnCommit]) -> None:
        for tid in own:
            del self._own[tid]


class _Poll:
    """See `newsreader.Source`."""

    #: It may have to read many transactions.
    patience = 10.0

    def __init__(self, storage: SharedStorage, instances: Instances, commits: _Commits) -> None:
        self._storage = storage
        self._instances = instances
        self._commits = commits
        # RelStorage provides this if it keeps all revisions.
        self._has_history = IStorageUndoable.providedBy(storage)
        self._watcher: Any = None
        self._last = z64
        self._woken = Event()
        self._pause = _SHORTEST
        # What has changed, and is not told yet.
        self._changed: set[bytes] = set()
        self._is_lost = False

    def begin(self) -> None:
        """Read up to now, without telling it."""
        self._watcher = self._instances.make()
        refresh(self._watcher)
        self._last = self._instances.published = self._watcher.lastTransaction() or z64

    def wait(self) -> None:
        self._woken.wait(self._pause)
        self._woken.clear()

    def wake(self) -> None:
        self._woken.set()

    def read(self) -> list[Batch]:
        with self._commits.finishing():
            changed = refresh(self._watcher)
            # The storage says it once only, also if something fails below.
            if changed is not None:
                self._changed.update(changed)
            elif not self._reads_all:
                self._is_lost = True
            last = self._watcher.lastTransaction() or z64
            own = self._commits.all()
            # A storage may not count transactions that have changed nothing.
            last = max([last, *own])
        batches = self._batches(last, own)
        told = {tid for batch in batches for tid in batch.own}
        # A copy of another database may have transactions that are older than the last one here.
        batches += [
            Batch(tid, commit.oids, {tid: commit})
            for tid, commit in sorted(own.items())
            if tid not in told
        ]
        before, self._last = self._last, last
        self._commits.remove(own)
        self._changed.clear()
        # From now on no older view is used. It may show what clients have not been told of yet:
        # what they load then is discarded.
        self._instances.published = last
        if self._is_lost:
            self._is_lost = False
            raise LostTrack("the database does not know what has changed", own)
        if last < before:
            raise LostTrack("the database has gone back in time", own)
        self._pause = _SHORTEST if batches else min(self._pause * 2, _LONGEST)
        return batches

    def _batches(self, last: bytes, own: dict[bytes, OwnCommit]) -> list[Batch]:
        if last <= self._last or self._is_lost:
            return []
        if not self._reads_all:
            return [Batch(last, list(self._changed), own)]
        # Each transaction by itself: clients may look at the database as it was after each.
        return [
            Batch(
                transaction.tid,
                [record.oid for record in transaction],
                {tid: commit for tid, commit in own.items() if tid == transaction.tid},
            )
            for transaction in self._watcher.iterator(p64(u64(self._last) + 1), last)
        ]

    @property
    def _reads_all(self) -> bool:
        """Whether to read the transactions themselves, and not only what has changed.

        Storages do not say what the first transactions of a database have changed.
        """
        return self._has_history or self._last == z64

    def recover(self) -> None:
        # The watcher remembers what it has seen, and connects again by itself.
        self._instances.forget()

    def close(self) -> None:
        self._watcher.release()
