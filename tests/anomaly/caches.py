"""The client's cache in a file: made, opened, written until it is full, set aside, resized."""

from __future__ import annotations

import logging
import os
import re
from functools import cache as remember

from ZODB.utils import p64, u64

from zeotwisted.clientstorage.cache import CacheFileError
from zeotwisted.clientstorage.cache.file import FileCache

from .loops import Journal, Operation, files

__all__ = ["MakesCache", "OpensCache", "ResizesCache", "SetsCacheAside", "WritesCache"]

_SIZE = 64 * 1024
#: How many objects there are. Each transaction changes two of them.
_OBJECTS = 7
#: The last transaction before the operation, and during it.
_BEFORE, _LAST = 18, 24


class _SetAside(logging.Handler):
    """Finds the files in the log that are kept because they are damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.paths.update(re.findall(r"It is kept as (\S+);", record.getMessage()))


_set_aside = _SetAside()
logging.getLogger("zeotwisted.client").addHandler(_set_aside)


def _data(oid: int, tid: int) -> bytes:
    """Return the record of an object that a transaction has changed."""
    return b"%d of %d " % (oid, tid) * (20, 500, 1200)[oid % 3]


def _changed(tid: int) -> list[int]:
    """Return the objects that a transaction changes; the first one changes all."""
    if tid == 1:
        return list(range(_OBJECTS))
    return sorted({tid % _OBJECTS, tid * tid % _OBJECTS})


@remember
def _at(oid: int, before: int) -> tuple[int, int | None]:
    """Return the tids that begin and end the revision of an object that was valid before a tid."""
    tids = [tid for tid in range(1, _LAST + 9) if oid in _changed(tid)]
    start = max(tid for tid in tids if tid < before)
    return start, min((tid for tid in tids if tid > start), default=None)


def _check(cache: FileCache) -> None:
    """Check that all that a cache says is true, as of its last tid."""
    last = u64(cache.getLastTid())
    for oid in range(_OBJECTS):
        found = cache.load(p64(oid))
        if found is not None:
            start, _ = _at(oid, last + 1)
            assert found == (_data(oid, start), p64(start)), "an old revision is said to be current"
        for tid in range(2, last + 2):
            revision = cache.loadBefore(p64(oid), p64(tid))
            if revision is not None:
                start, end = _at(oid, tid)
                assert revision[:2] == (_data(oid, start), p64(start)), "a wrong revision"
                # It may know more than its last tid says.
                ends = (None,) if end is None else (p64(end), None if end > last else p64(end))
                assert revision[2] in ends, "a wrong end"


class _Cache(FileCache):
    """A cache whose index is made in the thread of the operation, so that steps have an order."""

    def _make_index(self) -> None:
        pass

    def wait_until_indexed(self) -> None:
        while self._index_more():
            pass


class _Caches(Operation):
    """An operation of a cache file."""

    size = _SIZE
    cache: FileCache | None = None

    def start(self) -> None:
        _set_aside.paths.clear()

    def open(self, size: int = _SIZE) -> FileCache:
        """Open the cache, and make its index at once."""
        cache = self.cache = _Cache(self.path("cache"), size)
        cache.wait_until_indexed()
        return cache

    def replay(self, first: int, last: int, journal: Journal | None = None) -> None:
        """Tell the cache of transactions, as a client does that loads some of the objects.

        :param journal: gets the tids that the file has.
        """
        cache = self.cache
        assert cache is not None
        for tid in range(first, last + 1):
            for oid in _changed(tid):
                cache.invalidate(p64(oid), p64(tid))
            cache.setLastTid(p64(tid))
            assert cache.getLastTid() == p64(tid)
            if journal is not None and cache._file.is_open:
                journal.note("told", tid)
            for oid in range(tid % 3, _OBJECTS, 3):
                if cache.load(p64(oid)) is None:
                    start, _ = _at(oid, tid + 1)
                    cache.store(p64(oid), p64(start), None, _data(oid, start))
            # Another connection reads an earlier state.
            oid = tid % 5
            if tid > 8 and cache.loadBefore(p64(oid), p64(tid - 4)) is None:
                start, end = _at(oid, tid - 4)
                if end is not None and end <= tid:
                    cache.store(p64(oid), p64(start), p64(end), _data(oid, start))

    def go_on(self) -> None:
        """Check that the cache works; see `replay`."""
        assert self.cache is not None
        last = u64(self.cache.getLastTid())
        self.replay(last + 1, last + 2)
        _check(self.cache)
        self.cache.close()
        self.cache = None

    def mended(self, journal: Journal) -> None:
        if self.cache is None:
            # It could not be opened, which was said. Now it can.
            assert journal.of("refused")
            self.open()
        assert self.cache is not None
        _check(self.cache)
        self.go_on()

    def restarted(self, journal: Journal) -> None:
        if self.fault is not None and self.fault.error is None:
            # What attempts before this one have logged.
            _set_aside.paths.clear()
        cache = self.open()
        assert cache._file.is_open
        if self.fault is not None and self.fault.error is None and not self.fault.part:
            assert not _set_aside.paths, "a kill has damaged the file"
        if not _set_aside.paths:
            told = max(journal.of("told"), default=0)
            assert u64(cache.getLastTid()) >= told, "transactions are forgotten"
        _check(cache)
        self.go_on()

    def left_over(self, killed: bool) -> set[str]:
        set_aside = {os.path.relpath(path, self.folder) for path in _set_aside.paths}
        return files(self.folder) - {"cache", "cache.lock"} - set_aside


class MakesCache(_Caches):
    """There is no file yet."""

    name = "cache file made"

    def run(self, journal: Journal) -> None:
        try:
            self.open(self.size)
        except CacheFileError as error:
            journal.refused(error)


class OpensCache(MakesCache):
    """There is a file with records."""

    name = "cache file opened"

    def prepare(self) -> None:
        cache = self.open()
        self.replay(1, _BEFORE)
        assert len(cache) > 3
        cache.close()


class ResizesCache(OpensCache):
    """There is a file with records, and of another size."""

    name = "cache file resized"
    size = 2 * _SIZE

    def restarted(self, journal: Journal) -> None:
        if self.fault is not None and self.fault.error is None:
            _set_aside.paths.clear()
        cache = self.open(self.size)
        assert len(cache) > 3 or _set_aside.paths, "the records are lost"
        cache.close()
        super().restarted(journal)

    def left_over(self, killed: bool) -> set[str]:
        # The next process that opens the file begins again with these.
        again = set() if killed else {"cache.resized", "cache.resized.lock"}
        return super().left_over(killed) - again


class WritesCache(OpensCache):
    """A client works until both logs have begun another round."""

    name = "cache file written"

    def start(self) -> None:
        super().start()
        self.open()

    def run(self, journal: Journal) -> None:
        assert self.cache is not None
        begin = self._rounds()
        self.replay(_BEFORE + 1, _LAST, journal)
        assert self.cache.getLastTid() == p64(_LAST)
        if self.fault is None:
            assert all(map(int.__lt__, begin, self._rounds())), "this does not try all steps"

    def _rounds(self) -> list[int]:
        assert self.cache is not None
        return [part.log.head // part.log.capacity for part in self.cache._parts]


class SetsCacheAside(WritesCache):
    """The server's database is older than the cache."""

    name = "cache file set aside"

    def run(self, journal: Journal) -> None:
        assert self.cache is not None
        self.cache.set_aside()
        self.replay(_BEFORE + 1, _BEFORE + 3, journal)

    def left_over(self, killed: bool) -> set[str]:
        # The process that was killed has said it in its own log.
        return super().left_over(killed) - ({"cache.bak1"} if killed else set())
