"""Loads of records, from the cache or from the storage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, p64, u64

from ..engine import Remote
from .loads import ENOUGH_BYTES, Loads, load_many_before
from .recordcache import RecordCache, Revision

__all__ = ["Records"]

_log = Logger()

#: For how many clients records are loaded at a time that they have not asked for: a small part of
#: the loads that run at a time, see `loads.MOST_LOADS`.
_MOST_BRINGING = 2


class Records:
    """The records of one storage. Call all methods in the reactor's thread.

    :param cache: what was loaded lately.
    :param last_shown: returns the last transaction that clients may see; None: they may see all.
    :param remote: has a cache of its own, which is asked before `loads`; None if there is none.
    :ivar loads: does the loads in threads, or waits for another process; None if the storage is
        fast enough for the reactor's thread.
    """

    def __init__(
        self,
        storage: Any,
        cache: RecordCache,
        loads: Loads | None,
        last_shown: Callable[[], bytes | None] = lambda: None,
        remote: Remote | None = None,
    ) -> None:
        self._storage = storage
        self._last_shown = last_shown
        self._remote = remote
        self.cache = cache
        self.loads = loads
        # The clients for which records are loaded that they have not asked for.
        self._bringing: set[object] = set()

    def load_before(self, client: object, oid: bytes, tid: bytes) -> Any:
        """Return what the storage's ``loadBefore`` returns, or a coroutine of it.

        No invalidation of a later transaction can be sent before this answer. If the result is not
        a coroutine, the answer is sent at once; `Loads` takes care of the others.
        """
        revision = self._near(oid, tid)
        if revision is not None:
            if self._remote is not None:
                self._remote.note_use(oid)
            return revision
        if self.loads is not None:
            return self._load_slowly(self.loads, client, oid, tid)
        return self._load(oid, tid)

    def _near(self, oid: bytes, tid: bytes) -> Revision:
        """Return a revision from a cache; None if it is in none."""
        revision = self.cache.load_before(oid, tid)
        if revision is None and self._remote is not None and self._last_shown() is None:
            revision = self._remote.load_cached(oid, tid)
            self.cache.loaded(oid, revision)
        return revision

    def _is_near(self, oid: bytes, tid: bytes) -> bool:
        has = self.cache.has(oid, tid)
        return has if self._remote is None else has or self._near(oid, tid) is not None

    def used(self, oids: bytes) -> None:
        """Note that a client uses records that it was sent before it has asked for them.

        :param oids: joined.
        """
        if self._remote is not None:
            for start in range(0, len(oids), 8):
                self._remote.note_use(oids[start : start + 8])

    def _load(self, oid: bytes, tid: bytes) -> Revision:
        revision: Revision = self._shown(self._storage.loadBefore(oid, self._before(tid)))
        self.cache.loaded(oid, revision)
        return revision

    async def _load_slowly(self, loads: Loads, client: object, oid: bytes, tid: bytes) -> Revision:
        while True:
            revision = await loads.load_before(client, oid, self._before(tid))
            if not self._is_early(revision):
                break
        revision = self._shown(revision)
        self.cache.loaded(oid, revision)
        return revision

    def _before(self, tid: bytes) -> bytes:
        """Return before which transaction to load, for a client that asks for what is before `tid`.

        It is an earlier one while the storage has a transaction that clients may not see yet.
        """
        last = self._last_shown()
        return tid if last is None else min(tid, p64(u64(last) + 1))

    def _is_early(self, revision: Revision | bool) -> bool:
        """Return whether clients may not see a revision yet."""
        last = self._last_shown()
        return last is not None and type(revision) is tuple and revision[1] > last

    def _shown(self, revision: Any) -> Any:
        """Return a revision as clients may see it: it is the current one for now, if they may not
        see the next one yet. They are told of that one later.
        """
        last = self._last_shown()
        if last is None or type(revision) is not tuple:
            return revision
        data, serial, end = revision
        return revision if end is None or end <= last else (data, serial, None)

    def find(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, None] | None:
        """Return the current revision of an object if it is before `tid`, without waiting for it.

        None if there is none, if it is a later one, or if that takes too long to find out.
        No invalidation of a later transaction can be sent before it, if it is sent at once.
        """
        revision = self._near(oid, tid)
        if revision is None and self.loads is None:
            try:
                revision = self._load(oid, tid)
            except POSKeyError:
                # Nobody has asked for it. Whoever does is told of the error.
                return None
        if revision is None or revision[2] is not None:
            return None
        return revision[0], revision[1], None

    def bring(self, client: object, oids: Sequence[bytes]) -> None:
        """Load what a client may ask for soon, so that it is found then. Nobody waits for it.

        Only for storages that need threads, as long as few clients have it done. Storages with a
        cache of their own know better what to load.
        """
        if self.loads is None or self._remote is not None or not self.cache.can_keep:
            return
        if client not in self._bringing and len(self._bringing) < _MOST_BRINGING:
            self._bringing.add(client)
            Deferred.fromCoroutine(self._bring(self.loads, client, oids))

    async def _bring(self, loads: Loads, client: object, oids: Sequence[bytes]) -> None:
        try:
            await self._load_many_slowly(loads, client, oids, maxtid)
        except Exception as error:
            # Whoever asks for one of them is told.
            _log.debug("not loaded ahead: {error}", error=error)
        finally:
            self._bringing.discard(client)

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
            missing = [oid for oid in oids if not self._is_near(oid, tid)]
            loaded: dict[bytes, Revision | bool] = {}
            if missing:
                found = await loads.load_many_before(client, missing, self._before(tid))
                if not found:
                    # The client is gone.
                    return found
                if any(map(self._is_early, found)):
                    continue
                loaded.update(zip(missing, map(self._shown, found), strict=False))
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
                revision = self._near(oid, tid)
                if revision is None:
                    break
                if self._remote is not None:
                    self._remote.note_use(oid)
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

    def forget(self) -> None:
        """Note that anything may have changed, or was removed."""
        self.cache.forget()
        if self.loads is not None:
            self.loads.all_changed()

    def leave(self, client: object) -> None:
        """Drop the loads of a client that is gone, except those that run."""
        if self.loads is not None:
            self.loads.leave(client)
