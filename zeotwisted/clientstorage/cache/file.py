"""A cache of records in a file, which survives a restart.

The file has two logs (see `log`): one for the probation queue and one for the main queue (see
`eviction`). A store goes to one of them. Invalidations and the last tid go to both, in their order,
and before the database is notified. So each log is consistent by itself, wherever it ends when the
process is killed, and the cache is up to date as of the lower of the two last tids. Records that
were removed from the logs are only missing.

When the file is opened, the last tid is read from the ends of the logs. A thread then builds the
index. Until that is complete, new records are kept in memory, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from threading import RLock, Thread
from typing import Any

from ZODB.utils import maxtid, p64, u64, z64

from zeotwisted.protocol import numbers

from .diskfile import BLOCK, STATES, CacheFileError, DiskFile, in_use
from .eviction import PROBATION, Dropped
from .indexedlog import IndexedLog
from .log import HEADER, Damaged, Log
from .memory import ClientCache
from .statistics import CacheStatistics

__all__ = ["FileCache"]

_log = logging.getLogger("zeotwisted.client")

_MIN_SIZE = 64 * 1024
#: How many bytes are kept in memory while the index is built, or when the file has failed.
_MEANWHILE = 8 * 1024 * 1024
#: After how many records the thread that builds the index releases the lock, and for how long
#: (seconds). Without a pause it would get the lock again before other threads wake up.
_SLICE = 250
_PAUSE = 0.0001


class FileCache:
    """Revisions of objects in a file, each with the range of transactions in which it is valid.

    The interface is that of ZEO's client caches. All methods may be called in any thread. An
    object that is larger than about half of the file is not kept.

    If the file cannot be written any more, the cache logs an error and goes on in memory.

    :param path: the file; it is created if it does not exist, and locked by ``path + ".lock"``.
    :param size: the size of the file, in bytes. The records in a file of another size are copied.
    :raises CacheFileError: the file is in use, is not a cache file, or cannot be written.
    """

    def __init__(self, path: str, size: int = 20 * 1024 * 1024) -> None:
        self.size = max(size, _MIN_SIZE)
        self.statistics = CacheStatistics()
        self._lock = RLock()
        #: Used instead of the file while there is no file, or no index yet.
        self._memory: ClientCache | None = None
        self._indexed = False
        self._closed = False
        self._last_tid = z64
        self._file = DiskFile(path)
        self.path = self._file.path
        try:
            self._open()
        except BlockingIOError:
            self._file.release()
            raise in_use(self.path) from None
        except OSError as error:
            self._file.release()
            raise CacheFileError(
                f"{self.path}: cannot be used as a cache file: {error.strerror or error}; "
                "choose another path, or make room"
            ) from error
        except BaseException:
            self._file.release()
            raise
        self._indexer = Thread(target=self._make_index, name="zeotwisted-cache", daemon=True)
        if not self._indexed:
            self._indexer.start()

    # Opening.

    def _open(self) -> None:
        self._file.restore_resized()
        self._file.open()
        try:
            size = self._file.size()
            if size is None:
                self._create()
            elif size == self.size:
                self._reuse()
            else:
                self._resize(size)
        except Damaged as reason:
            self._put_aside(str(reason))
            self._create()

    def _reuse(self) -> None:
        self._make_parts()
        for part in self._parts:
            part.open()
        self._last_tid = min(part.log.last_tid for part in self._parts)
        if self._last_tid == z64:
            # Without a last tid, the records cannot be verified.
            for part in self._parts:
                part.clear()
        self._indexed = all(part.log.tail == part.log.head for part in self._parts)
        if not self._indexed:
            self._memory = ClientCache(min(_MEANWHILE, self.size))

    def _resize(self, size: int) -> None:
        """Create a new file with the records of the present one, which has `size` bytes."""
        _log.info("%s: is changed from %d to %d bytes", self.path, size, self.size)
        # If this ends early, the next cache that opens the file takes it back, and begins again.
        aside = self._file.rename(self._file.resized)
        self._file.open()
        self._create()
        old = FileCache(aside, size)
        try:
            # Before the records: with some of these, the new file is incomplete, but consistent.
            self.setLastTid(old.getLastTid())
            for part, revisions in zip(self._parts, old.logs(), strict=False):
                for oid, start, end, data in revisions:
                    if part.log.fits(len(data)) and self._make_room(part, len(data)):
                        part.store(oid, start, end, data)
        finally:
            old.close()
        if self._file.is_open:
            self._file.remove_resized()

    def _create(self) -> None:
        """Make the file an empty cache."""
        self._file.make_empty(self.size)
        self._make_parts()
        for part in self._parts:
            part.log.create()
        self._file.mark_complete(self.size)
        self._memory = None
        self._indexed = True

    def _make_parts(self) -> None:
        number, pages = self._file.number, self._file.map(self.size)
        space = self.size - BLOCK
        probation = int(space * PROBATION)
        first, second = STATES
        self._probation = IndexedLog(Log(number, pages, first, BLOCK, probation))
        self._main = IndexedLog(Log(number, pages, second, BLOCK + probation, space - probation))
        # Changes are made in this order. Making room in the first log may move records to the
        # second one, and these must not miss the change.
        self._parts = (self._probation, self._main)
        self._dropped = Dropped()

    # Making the index.

    def _make_index(self) -> None:
        """Index the logs from beginning to end, while other threads append to them."""
        began = time.perf_counter()
        while self._index_more():
            time.sleep(_PAUSE)
        took = time.perf_counter() - began
        _log.debug("%s: %d records, indexed in %.2f seconds", self.path, len(self), took)

    def _index_more(self) -> bool:
        """Index a part of the logs; return whether there is more."""
        with self._lock:
            if self._closed or self._indexed:
                return False
            try:
                self._indexed = all([part.replay(_SLICE) for part in self._parts])
            except (OSError, Damaged) as error:
                self.set_aside(str(error))
                return False
            if self._indexed:
                self._memory = None
            return not self._indexed

    def wait_until_indexed(self) -> None:
        """Wait until the index is complete."""
        if self._indexer.ident is not None:
            self._indexer.join()

    # Closing.

    def close(self) -> None:
        """Close the file and release its locks. The records stay in the file."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._memory = ClientCache(0)
            self._memory.setLastTid(self._last_tid)
            self._file.release()

    def abandon(self) -> None:
        """After fork: close the child's copy of the file and leave the locks to the parent."""
        # A thread that does not exist in the child may hold the old lock.
        self._lock = RLock()
        self._closed = True
        self._memory = ClientCache(0)
        self._file.abandon()

    # Going on without the file, or with another one.

    def set_aside(self, reason: str = "it is newer than the server") -> None:
        """Rename the file and create an empty one; the last tid stays."""
        with self._lock:
            if not self._file.is_open:
                self.clear()
                return
            try:
                self._put_aside(reason)
                self._create()
                for part in self._parts:
                    part.log.note_last_tid(self._last_tid)
            except OSError as error:
                self._fail(error)

    def _put_aside(self, reason: str) -> None:
        aside = self._file.rename()
        _log.warning(
            "%s: the cache is not used: %s. It is kept as %s; remove it when it is not needed",
            self.path,
            reason,
            aside,
        )
        self._file.open()

    def _fail(self, error: Exception) -> None:
        """Go on in memory."""
        _log.error(
            "%s: cannot be used any more, the cache goes on in memory without it: %s",
            self.path,
            error,
        )
        # The file stays consistent: it is up to date as of the last tid that it contains.
        self._indexed = True
        self._memory = ClientCache(min(_MEANWHILE, self.size))
        self._memory.setLastTid(self._last_tid)
        self._file.release()

    # The interface of client caches.

    def __len__(self) -> int:
        with self._lock:
            if not self._file.is_open or not self._indexed:
                return 0 if self._memory is None else len(self._memory)
            return sum(map(len, self._parts))

    @property
    def used(self) -> int:
        """How many bytes of the file are in use, overhead included."""
        with self._lock:
            if not self._file.is_open:
                return 0 if self._memory is None else self._memory.used
            return sum(part.log.head - part.log.tail for part in self._parts)

    def getLastTid(self) -> bytes:
        """Return the tid as of which the cache is up to date."""
        return self._last_tid

    def setLastTid(self, tid: bytes) -> None:
        """Set the last tid, after all invalidations of that transaction."""
        with self._lock:
            self._change(lambda part: part.log.note_last_tid(tid))
            self._last_tid = tid
            if self._memory is not None:
                self._memory.setLastTid(tid)

    def load(self, oid: bytes) -> tuple[bytes, bytes] | None:
        """Return data and tid of the current revision, or None."""
        found = self.loadBefore(oid, maxtid)
        return None if found is None or found[2] is not None else found[:2]

    def loadBefore(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return data, start and end of the revision that was valid just before `tid`, or None."""
        with self._lock:
            found: tuple[bytes, bytes, bytes | None] | None = None
            if self._memory is not None:
                found = self._memory.loadBefore(oid, tid)
            else:
                try:
                    found = self._find(oid, tid)
                except OSError as error:
                    self._fail(error)
            if found is None:
                self.statistics.misses += 1
            else:
                self.statistics.hits += 1
            return found

    def _find(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        for part in self._parts:
            stored = part.current(oid)
            if stored is not None and stored[1] < tid:
                return stored[3], stored[1], None
        for part in self._parts:
            earlier = part.earlier(oid, tid)
            if earlier is not None:
                return earlier
        return None

    @property
    def room(self) -> int:
        """How many bytes there are for records that nobody has asked for."""
        with self._lock:
            if not self._file.is_open:
                return 0 if self._memory is None else self._memory.room
            log = self._probation.log
            return log.capacity - (log.head - log.tail) - log.spare - log.step

    def lacking(self, oids: Sequence[bytes]) -> list[bytes]:
        """Return those of which it has no current revision. This counts as no request."""
        with self._lock:
            if self._memory is not None:
                return self._memory.lacking(oids)
            return [oid for oid in oids if not any(part.has_current(oid) for part in self._parts)]

    def requested(self, first: bytes, most: int) -> tuple[list[bytes], bytes | None]:
        """Return the oids of current revisions that were requested; see `ClientCache.requested`."""
        with self._lock:
            if self._memory is not None:
                return self._memory.requested(first, most)
            parts = [part.requested(u64(first), most, part is self._main) for part in self._parts]
        ends = [end for _, end in parts if end is not None]
        end = min(ends, default=None)
        wanted = [each for found, _ in parts for each in found if end is None or each < end]
        return list(map(p64, wanted)), None if end is None else p64(end)

    def store(self, oid: bytes, start: bytes, end: bytes | None, data: bytes) -> None:
        """Add a revision.

        :param end: the tid of the next revision; None if this is the current one.
        """
        self._keep(oid, start, end, data, ahead=False)

    def store_ahead(self, oid: bytes, start: bytes, end: None, data: bytes) -> None:
        """Add a current revision that nobody has asked for. It enters the probation queue."""
        self._keep(oid, start, end, data, ahead=True)

    def _keep(self, oid: bytes, start: bytes, end: bytes | None, data: bytes, ahead: bool) -> None:
        with self._lock:
            if self._memory is not None:
                store = self._memory.store_ahead if ahead else self._memory.store
                store(oid, start, end, data)  # type: ignore[arg-type]
            if not self._file.is_open:
                return
            try:
                if self._wanted(oid, start, end):
                    self._store(oid, start, end, data, ahead)
            except Damaged as error:
                self.set_aside(str(error))
            except OSError as error:
                self._fail(error)

    def _wanted(self, oid: bytes, start: bytes, end: bytes | None) -> bool:
        """Return whether a revision is new, and make it the only current one if it is."""
        if not self._indexed:
            return True
        for part in self._parts:
            if part.has_earlier(oid, start):
                return False
            known = part.current_start(oid)
            if known is not None and (known == start or (end is None and known > start)):
                return False
        if end is None:
            for part in self._parts:
                # The end of the other current revision is not known, so forget it.
                if part.current_start(oid) is not None:
                    self._make_room(part, 0)
                    part.forget((oid,))
        return True

    def _store(self, oid: bytes, start: bytes, end: bytes | None, data: bytes, ahead: bool) -> None:
        again = not ahead and self._dropped.recall(u64(oid))
        fits = ahead or self._probation.log.fits(len(data))
        part = self._main if again or not fits else self._probation
        if not part.log.fits(len(data)):
            return
        if not self._indexed and not part.log.room(len(data), spare=True):
            # The record is in memory. This thread must not wait for the index.
            return
        if self._make_room(part, len(data)):
            part.store(oid, start, end, data, self._indexed)
            self.statistics.stores += 1

    def _make_room(self, part: IndexedLog, length: int) -> bool:
        """Make room for a record in a log; return False if the log is not in use any more."""
        log = part.log
        if not self._indexed:
            if log.room(length):
                return True
            # Only the index knows which records may be removed.
            while not self._indexed:
                self._index_more()
        if not self._file.is_open or part not in self._parts:
            return False
        moved = 0
        while not log.room(length, spare=True):
            if log.head == log.tail:
                part.clear()
                continue
            # Keep records once more that are smaller than the mean, unless too much was moved.
            small = self.used / max(1, len(self)) if moved <= 4 * (length + log.step) else -1
            wanted, spared, dropped = part.clear_tail(small)
            self.statistics.evictions += len(dropped)
            if part is self._probation:
                limit = max(1000, len(self))
                for number in dropped:
                    self._dropped.add(number, limit)
            for oid, start, _end, data in spared:
                moved += len(data) + HEADER
                if log.room(len(data), spare=True):
                    part.keep(oid, start, data)
            for oid, start, _end, data in wanted:
                if not self._main.log.fits(len(data)):
                    # The probation queue is larger. There would never be room for this record.
                    continue
                moved += len(data) + HEADER
                if part is self._probation:
                    self._make_room(self._main, len(data))
                if self._main.log.room(len(data), spare=True):
                    self._main.store(oid, start, None, data)
        return True

    def invalidate(self, oid: bytes, tid: bytes | None) -> bool:
        """Apply an invalidation: the transaction `tid` has changed the object.

        :param tid: None if the transaction is not known; the object is forgotten then.
        :return: False if the cache did not change; True if it may have changed.
        """
        with self._lock:
            changed = self._memory is not None and self._memory.invalidate(oid, tid)
            self.statistics.invalidations += 1
            if tid is None:
                return self._forget((oid,)) or changed
            return self._change(lambda part: part.end(oid, tid, self._indexed)) or changed

    def changed(self, tid: bytes, oids: Sequence[bytes]) -> None:
        """Apply the invalidations of a transaction, which has changed the objects."""
        with self._lock:
            here = oids
            # With a cache in memory, the index is not complete, or the file is not used any more.
            if self._memory is None:
                of_all = numbers(b"".join(oids))
                known = {each for part in self._parts for each in part.current_of(of_all)}
                # Few of them are here, usually.
                here = [p64(number) for number in known]
                self.statistics.invalidations += len(oids) - len(here)
            for oid in here:
                self.invalidate(oid, tid)

    def forget(self, oids: Sequence[bytes]) -> None:
        """Forget objects that unknown transactions have changed."""
        with self._lock:
            if self._memory is not None:
                self._memory.forget(oids)
            self.statistics.invalidations += len(oids)
            if not self._file.is_open:
                return
            at_once = min(part.log.step for part in self._parts) // 32
            for first in range(0, len(oids), at_once):
                self._forget(oids[first : first + at_once])

    def _forget(self, oids: Sequence[bytes]) -> bool:
        return self._change(lambda part: part.forget(oids, self._indexed), 8 * len(oids))

    def _change(self, change: Callable[[IndexedLog], Any], length: int = 0) -> bool:
        """Call `change` for both logs; return whether one of the calls returned True.

        :param length: how many bytes of data the record of the change has at most.
        """
        changed = False
        if not self._file.is_open:
            return changed
        try:
            for part in self._parts:
                if self._make_room(part, length):
                    changed |= bool(change(part))
        except Damaged as error:
            self.set_aside(str(error))
        except OSError as error:
            self._fail(error)
        return changed

    def clear(self) -> None:
        """Forget all records; the last tid stays."""
        with self._lock:
            if self._memory is not None:
                self._memory.clear()
            if not self._file.is_open:
                return
            try:
                for part in self._parts:
                    part.clear()
            except OSError as error:
                self._fail(error)
            self._indexed = True
            self._memory = None

    def revisions(self) -> Iterator[tuple[bytes, bytes, bytes | None, bytes]]:
        """Return oid, start, end and data of all revisions; the cache must not change meanwhile."""
        for revisions in self.logs():
            yield from revisions

    def logs(self) -> Iterator[Iterator[tuple[bytes, bytes, bytes | None, bytes]]]:
        """Return the revisions in each log, as `revisions` does; none if the file has failed."""
        self.wait_until_indexed()
        for part in self._parts if self._file.is_open else ():
            yield part.revisions()
