"""Loads of records, from the cache or from the storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .loads import ENOUGH_BYTES, Loads, load_many_before
from .recordcache import RecordCache, Revision

__all__ = ["Records"]


class Records:
    """The records of one storage. Call all methods in the reactor's thread.

    :param cache: what was loaded lately.
    :ivar loads: does the loads in threads, or waits for another process; None if the storage is
        fast enough for the reactor's thread.
    """

    def __init__(self, storage: Any, cache: RecordCache, loads: Loads | None) -> None:
        self._storage = storage
        self.cache = cache
        self.loads = loads

    def load_before(self, client: object, oid: bytes, tid: bytes) -> Any:
        """Return what the storage's ``loadBefore`` returns, or a coroutine of it.

        No invalidation of a later transaction can be sent before this answer. If the result is not
        a coroutine, the answer is sent at once; `Loads` takes care of the others.
        """
        revision = self.cache.load_before(oid, tid)
        if revision is not None:
            return revision
        if self.loads is not None:
            return self._load_slowly(self.loads, client, oid, tid)
        return self._load(oid, tid)

    def _load(self, oid: bytes, tid: bytes) -> Revision:
        revision: Revision = self._storage.loadBefore(oid, tid)
        self.cache.loaded(oid, revision)
        return revision

    async def _load_slowly(self, loads: Loads, client: object, oid: bytes, tid: bytes) -> Revision:
        revision = await loads.load_before(client, oid, tid)
        self.cache.loaded(oid, revision)
        return revision

    def find(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, None] | None:
        """Return the current revision of an object if it is before `tid`, without waiting for it.

        None if there is none, if it is a later one, or if that takes too long to find out.
        No invalidation of a later transaction can be sent before it, if it is sent at once.
        """
        revision = self.cache.load_before(oid, tid)
        if revision is None and self.loads is None:
            try:
                revision = self._load(oid, tid)
            except Exception:
                # Nobody has asked for it. Whoever does is told of the error.
                return None
        if revision is None or revision[2] is not None:
            return None
        return revision[0], revision[1], None

    def load_many_before(self, client: object, oids: Sequence[bytes], tid: bytes) -> Any:
        """Return the results for the first few of `oids`, or a coroutine of them.

        False means that there is no such object. See the function `load_many_before`.
        """
        if self.loads is not None:
            return self._load_many_slowly(self.loads, client, oids, tid)

        def load_before(oid: bytes, tid: bytes) -> Revision:
            return self.cache.load_before(oid, tid) or self._load(oid, tid)

        return load_many_before(load_before, oids, tid)

    async def _load_many_slowly(
        self, loads: Loads, client: object, oids: Sequence[bytes], tid: bytes
    ) -> list[Revision | bool]:
        while True:
            missing = [oid for oid in oids if not self.cache.has(oid, tid)]
            loaded: dict[bytes, Revision | bool] = {}
            if missing:
                found = await loads.load_many_before(client, missing, tid)
                if not found:
                    # The client is gone.
                    return found
                loaded.update(zip(missing, found, strict=False))
            # Not before: what was in the cache may have changed meanwhile, and been removed.
            answer = self._first_known(oids, tid, loaded)
            if answer:
                return answer

    def _first_known(
        self, oids: Sequence[bytes], tid: bytes, loaded: dict[bytes, Revision | bool]
    ) -> list[Revision | bool]:
        answer: list[Revision | bool] = []
        size = 0
        for oid in oids:
            revision: Revision | bool
            if oid in loaded:
                revision = loaded[oid]
                self.cache.loaded(oid, revision)
            else:
                revision = self.cache.load_before(oid, tid)
                if revision is None:
                    break
            if revision and not isinstance(revision, bool):
                length = len(revision[0])
                if length > ENOUGH_BYTES and answer:
                    break
                size += length
            answer.append(revision)
            if size >= ENOUGH_BYTES:
                break
        return answer

    def changed(self, tid: bytes, oids: Iterable[bytes]) -> None:
        """Note that a transaction has been published: what is older is not current any more."""
        self.cache.changed(tid, oids)
        if self.loads is not None:
            self.loads.changed(oids)

    def leave(self, client: object) -> None:
        """Drop the loads of a client that is gone, except those that run."""
        if self.loads is not None:
            self.loads.leave(client)
