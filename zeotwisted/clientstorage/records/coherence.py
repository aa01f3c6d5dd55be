"""Keeps the cache, the last transaction and the database consistent.

All changes go through `Coherence` in the order of the wire. Two rules hold:

- `last_transaction` moves only after the database has received the invalidations of the
  transaction.
- A transaction is applied as a whole: other threads see the cache and `last_transaction` either
  before it or after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import RLock
from typing import Any

from ZODB.utils import maxtid

__all__ = ["Coherence"]


class Coherence:
    """The cache, the last transaction, and the callbacks of the database.

    :param cache: see `cache.ClientCache`.
    :param invalidate_database: notifies the database of the oids that a transaction has changed.
    :param invalidate_everything: notifies the database that any object may have changed.
    :param stale: called without a lock after the cache was dropped.
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
        # Reentrant: a callback of the database may call `last_transaction`.
        self._lock = RLock()

    # Any thread.

    def last_transaction(self) -> bytes:
        """Return the tid up to which the cache and the database are up to date."""
        with self._lock:
            return self._cache.getLastTid()

    def load_before(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return a revision from the cache; see `cache.ClientCache.loadBefore`."""
        with self._lock:
            return self._cache.loadBefore(oid, tid)

    def missing(self, oids: Iterable[bytes], tid: bytes) -> list[bytes]:
        """Return those oids for which the cache has no revision before `tid`."""
        with self._lock:
            cached = self._cache.loadBefore
            return [oid for oid in oids if cached(oid, tid) is None]

    def lacking(self, oids: Sequence[bytes]) -> list[bytes]:
        """Return those oids for which the cache has no current revision. This asks for none."""
        with self._lock:
            lacking = getattr(self._cache, "lacking", None)
            return self.missing(oids, maxtid) if lacking is None else lacking(oids)

    def requested(self, first: bytes, most: int) -> tuple[list[bytes], bytes | None]:
        """Return the oids of what the application uses; see `cache.ClientCache.requested`."""
        with self._lock:
            requested = getattr(self._cache, "requested", None)
            return ([], None) if requested is None else requested(first, most)

    def room(self) -> int | None:
        """Return how many bytes the cache has left; None if it does not tell."""
        with self._lock:
            return getattr(self._cache, "room", None)

    def forget(self, oid: bytes) -> None:
        """Remove an object from the cache: it may be out of date."""
        with self._lock:
            self._cache.invalidate(oid, None)

    def found(self, tid: bytes, oids: Iterable[bytes], callback: Callable[[bytes], Any]) -> None:
        """Apply a commit of this client whose answer was lost; in any thread.

        Invalidations up to this transaction, and perhaps later ones, have been applied already. So
        the cache drops the objects: their data may be out of date.

        :param callback: the database's, see ``IStorage.tpc_finish``.
        """
        oids = list(oids)
        with self._lock:
            for oid in oids:
                self._cache.invalidate(oid, None)
            self._invalidate_database(tid, oids)
            callback(tid)
            self._advance(tid)

    # In the order of the wire.

    def loaded(self, oid: bytes, result: tuple[bytes, bytes, bytes | None] | None) -> None:
        """Store the answer to a load. Call it before the next message is processed."""
        if result is not None:
            data, start, end = result
            with self._lock:
                self._cache.store(oid, start, end, data)

    def loaded_many(
        self, revisions: Iterable[tuple[bytes, tuple[bytes, bytes, bytes | None]]]
    ) -> None:
        """Store the answers to several loads: the oids and revisions that exist.

        Call it as `loaded`.
        """
        with self._lock:
            store = self._cache.store
            for oid, (data, start, end) in revisions:
                store(oid, start, end, data)

    def loaded_ahead(self, records: Iterable[tuple[bytes, bytes, bytes]]) -> None:
        """Store current revisions that nobody has asked for: oids, serials and data.

        Call it as `loaded`. They are kept only if they push out nothing that was asked for twice.
        """
        with self._lock:
            # A cache object of the application's may have only the methods of ZEO's caches.
            store = getattr(self._cache, "store_ahead", self._cache.store)
            for oid, start, data in records:
                store(oid, start, None, data)

    def invalidate(self, tid: bytes, oids: Sequence[bytes]) -> None:
        """Apply the invalidations of a transaction of another client."""
        with self._lock:
            getattr(self._cache, "changed", self._change_each)(tid, oids)
            self._invalidate_database(tid, oids)
            self._advance(tid)

    def _change_each(self, tid: bytes, oids: Sequence[bytes]) -> None:
        # A cache object of the application's may have only the methods of ZEO's caches.
        for oid in oids:
            self._cache.invalidate(oid, tid)

    def _advance(self, tid: bytes) -> None:
        # A transaction that is copied from another database may have an older tid.
        if tid > self._cache.getLastTid():
            self._cache.setLastTid(tid)

    def committed(
        self,
        tid: bytes,
        changes: Iterable[tuple[bytes, bytes | None]],
        callback: Callable[[bytes], Any],
    ) -> None:
        """Apply a commit of this client.

        :param changes: the oids, and their new data; None where that is not known.
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
        """Apply missed invalidations: transactions up to `tid` have changed `oids`.

        The tid of each change is not known, so the cache drops the objects.
        """
        with self._lock:
            forget = getattr(self._cache, "forget", self._forget_each)
            forget(oids)
            self._invalidate_database(tid, oids)
            self._cache.setLastTid(tid)

    def _forget_each(self, oids: Sequence[bytes]) -> None:
        # A cache object of the application's may have only the methods of ZEO's caches.
        for oid in oids:
            self._cache.invalidate(oid, None)

    def forget_all(self, tid: bytes) -> None:
        """Drop the cache: any object may have changed up to `tid`."""
        with self._lock:
            self._cache.clear()
            self._invalidate_everything()
            self._cache.setLastTid(tid)
        self._stale()

    def set_aside(self, tid: bytes) -> None:
        """Set the cache aside: it is newer than the server, whose last transaction is `tid`."""
        with self._lock:
            getattr(self._cache, "set_aside", self._cache.clear)()
            self._invalidate_everything()
            self._cache.setLastTid(tid)
        self._stale()
