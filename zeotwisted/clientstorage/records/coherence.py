"""What this client believes about the database, and how it learns that it has changed.

All changes pass through here, in the reactor's thread, in the order of the wire. Two rules hold:

- `last_transaction` moves only after the database has been told what the transaction changed;
- nobody sees a transaction in part: other threads get at the cache and at `last_transaction`
  before it or after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import RLock
from typing import Any

__all__ = ["Coherence"]


class Coherence:
    """The cache, the last transaction, and the database that listens.

    :param cache: see `cache.ClientCache`.
    :param invalidate_database: tells the database which oids a transaction has changed.
    :param invalidate_everything: tells the database that anything may have changed.
    :param stale: called when the cache has been dropped, without any lock.
    """

    def __init__(
        self,
        cache: Any,
        invalidate_database: Callable[[bytes, Sequence[bytes]], Any],
        invalidate_everything: Callable[[], Any],
        stale: Callable[[], Any] = lambda: None,
    ) -> None:
        self._cache = cache
        self._invalidate_database = invalidate_database
        self._invalidate_everything = invalidate_everything
        self._stale = stale
        # The database's callback may ask for the last transaction.
        self._lock = RLock()

    # Any thread.

    def last_transaction(self) -> bytes:
        """Return the tid up to which cache and database are right."""
        with self._lock:
            return self._cache.getLastTid()

    def load_before(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return what the cache has, see `cache.ClientCache.loadBefore`."""
        with self._lock:
            return self._cache.loadBefore(oid, tid)

    def missing(self, oids: Iterable[bytes], tid: bytes) -> list[bytes]:
        """Return those of which the cache has no revision before `tid`."""
        with self._lock:
            cached = self._cache.loadBefore
            return [oid for oid in oids if cached(oid, tid) is None]

    def forget(self, oid: bytes) -> None:
        """Forget an object that turned out to be out of date."""
        with self._lock:
            self._cache.invalidate(oid, None)

    def found(self, tid: bytes, oids: Iterable[bytes], callback: Callable[[bytes], Any]) -> None:
        """A transaction of this client, whose answer was lost, is in the database.

        What was committed up to it has been taken note of, and perhaps more: of its objects
        nothing is known any more.

        :param callback: the database's, see ``IStorage.tpc_finish``.
        """
        oids = list(oids)
        with self._lock:
            for oid in oids:
                self._cache.invalidate(oid, None)
            self._invalidate_database(tid, oids)
            callback(tid)
            self._advance(tid)

    # The reactor's thread.

    def loaded(self, oid: bytes, result: tuple[bytes, bytes, bytes | None] | None) -> None:
        """The server has answered a load; this must be called in the same turn."""
        if result is not None:
            data, start, end = result
            with self._lock:
                self._cache.store(oid, start, end, data)

    def loaded_many(
        self, revisions: Iterable[tuple[bytes, tuple[bytes, bytes, bytes | None]]]
    ) -> None:
        """The server has answered loads of many objects, of which these oids and revisions exist;
        as `loaded`."""
        with self._lock:
            store = self._cache.store
            for oid, (data, start, end) in revisions:
                store(oid, start, end, data)

    def invalidate(self, tid: bytes, oids: Sequence[bytes]) -> None:
        """Another client's transaction has changed `oids`."""
        with self._lock:
            for oid in oids:
                self._cache.invalidate(oid, tid)
            self._invalidate_database(tid, oids)
            self._advance(tid)

    def _advance(self, tid: bytes) -> None:
        # A transaction that was copied from elsewhere may come with an older tid.
        if tid > self._cache.getLastTid():
            self._cache.setLastTid(tid)

    def committed(
        self,
        tid: bytes,
        changes: Iterable[tuple[bytes, bytes | None]],
        callback: Callable[[bytes], Any],
    ) -> None:
        """A transaction of this client is in the database.

        :param changes: the oids, and their new data where it is known.
        :param callback: the database's, see ``IStorage.tpc_finish``.
        """
        with self._lock:
            for oid, data in changes:
                self._cache.invalidate(oid, tid)
                if data is not None:
                    self._cache.store(oid, tid, None, data)
            callback(tid)
            self._advance(tid)

    def replay(self, tid: bytes, oids: Sequence[bytes]) -> None:
        """`oids` have been changed by transactions up to `tid`, at times that are not known."""
        with self._lock:
            forget = getattr(self._cache, "forget", self._forget_each)
            forget(oids)
            self._invalidate_database(tid, oids)
            self._cache.setLastTid(tid)

    def _forget_each(self, oids: Sequence[bytes]) -> None:
        # A cache object of the application's own may know no more than ZEO's do.
        for oid in oids:
            self._cache.invalidate(oid, None)

    def forget_all(self, tid: bytes) -> None:
        """Anything may have changed up to `tid`."""
        with self._lock:
            self._cache.clear()
            self._invalidate_everything()
            self._cache.setLastTid(tid)
        self._stale()

    def set_aside(self, tid: bytes) -> None:
        """The cache is of another past than the server, whose last transaction is `tid`."""
        with self._lock:
            getattr(self._cache, "set_aside", self._cache.clear)()
            self._invalidate_everything()
            self._cache.setLastTid(tid)
        self._stale()
