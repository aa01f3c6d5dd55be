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

from .engine import News, OwnCommit, Remote
from .housekeeping import Housekeeping
from .instances import Instances, refresh
from .newsreader import Batch, LostTrack, NewsReader
from .sharedstorage import SharedStorage

__all__ = ["Mvcc"]

#: How long (seconds) to wait before asking again: after a transaction, and at most.
_SHORTEST = 0.005
_LONGEST = 0.25

#: How often to look for what has changed before it is read from the transactions only.
_LOOKS = 3


class Mvcc:
    """See `engine.Engine`.

    :param storage_id: its name for messages.
    :param storage: provides `IMVCCStorage`.
    :param interrupt: ends all calls of the storage that wait for its database.
    """

    _log = Logger()
    is_shared = True
    votes = 1
    is_replica = False
    marks = False
    unpickles = True
    database = ""
    records = None
    remote: Remote | None = None

    def __init__(
        self, storage_id: str, storage: Any, interrupt: Callable[[], object] = lambda: None
    ) -> None:
        self._name = storage_id
        self.lending = self._instances = Instances(storage)
        self._commits = _Commits()
        self.storage = SharedStorage(storage, self._instances)
        self._source = _Poll(self.storage, self._instances, self._commits, interrupt)
        measure, rest = self.storage.measure, self._instances.rest
        self._housekeeping = Housekeeping(storage_id, measure, rest)
        self._reader: NewsReader | None = None
        self._source.begin()
        self.storage.measure()

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

    def __init__(
        self,
        storage: SharedStorage,
        instances: Instances,
        commits: _Commits,
        interrupt: Callable[[], object],
    ) -> None:
        self._interrupt = interrupt
        self._storage = storage
        self._instances = instances
        self._commits = commits
        # RelStorage provides this if it keeps all revisions.
        self._has_history = IStorageUndoable.providedBy(storage)
        self._watcher: Any = None
        # The last transaction that the watcher has seen.
        self._last = z64
        self._woken = Event()
        self._pause = _SHORTEST
        # What has changed, and is not told yet; and whether that is all.
        self._changed: set[bytes] = set()
        self._knows_all = True

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

    def read(self, is_asked: bool) -> list[Batch]:
        with self._commits.finishing():
            self._look()
            last = self._watcher.lastTransaction() or z64
            own = self._commits.all()
        if last < self._last:
            self._told(last, own)
            self._instances.forget()
            self._instances.published = last
            raise LostTrack("the database has gone back in time", own)
        batches = self._batches(last, own)
        # Storages do not count transactions that have changed nothing; and a copy of another
        # database may have transactions that are older than the last one here.
        told = {tid for batch in batches for tid in batch.own}
        batches += [
            Batch(tid, commit.oids, {tid: commit})
            for tid, commit in sorted(own.items())
            if tid not in told
        ]
        self._told(last, own)
        # From now on no older view is used. It may show what clients have not been told of yet:
        # what they load then is discarded.
        self._instances.published = max(self._instances.published, last, *own)
        self._pause = _SHORTEST if batches else min(self._pause * 2, _LONGEST)
        return batches

    def _look(self) -> None:
        """Have the watcher see what is committed, and note what it says: it says it once only.

        It may not know. RelStorage forgets all after some conflicts, and the watcher may then take
        over the last transaction of another instance without seeing it, so it has to look again.
        """
        for _ in range(_LOOKS):
            changed = refresh(self._watcher)
            if changed is not None:
                self._changed.update(changed)
                return
            self._knows_all = False

    def _told(self, last: bytes, own: dict[bytes, OwnCommit]) -> None:
        self._last = last
        self._commits.remove(own)
        self._changed.clear()
        self._knows_all = True

    def _batches(self, last: bytes, own: dict[bytes, OwnCommit]) -> list[Batch]:
        if last == self._last:
            return []
        if self._has_history:
            # Each transaction by itself: clients may look at the database as it was after each.
            return [
                Batch(tid, oids, {tid: own[tid]} if tid in own else {})
                for tid, oids in self._transactions(self._instances.published, last)
            ]
        if not self._knows_all:
            for _, oids in self._transactions(self._last, last):
                self._changed.update(oids)
        counted = {tid: commit for tid, commit in own.items() if tid <= last}
        return [Batch(last, list(self._changed), counted)]

    def _transactions(self, after: bytes, last: bytes) -> Iterator[tuple[bytes, list[bytes]]]:
        """Yield the tids of transactions, and what they have changed.

        Without history, an object is in the last transaction that has changed it.
        """
        for transaction in self._watcher.iterator(p64(u64(after) + 1), last):
            yield transaction.tid, [record.oid for record in transaction]

    def recover(self) -> None:
        # The watcher remembers what it has seen, and connects again by itself.
        self._instances.forget()

    def interrupt(self) -> None:
        self._interrupt()

    def close(self) -> None:
        self._watcher.release()
