"""Current records that clients have loaded lately.

The daemon answers them without asking the storage. This is faster than a FileStorage, and much
faster than a storage that waits for another process.

A record is here only as long as no later revision of its object has been published. So an answer
from here is as right as one from the storage: the client gets the invalidation after it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import TypeAlias

from ..figures import CacheReport

__all__ = ["RecordCache", "Revision"]

#: What ``loadBefore`` returns: the data, the serial, and the serial of the next revision, if any.
Revision: TypeAlias = "tuple[bytes, bytes, bytes | None] | None"

#: The memory (bytes) that a record takes besides its data.
_OVERHEAD = 300

#: The longest record to keep, as a part of the cache's size.
_LONGEST = 16


class RecordCache:
    """The cache. Call all methods in the reactor's thread.

    :param most: how much memory (bytes) to use; 0 for none.
    :ivar hits: how many records were answered from the cache.
    :ivar can_keep: whether there is room for any record.
    :ivar size: how much memory (bytes) it uses.
    """

    def __init__(self, most: int) -> None:
        self.hits = self.size = 0
        self._most = most
        self._longest = most // _LONGEST - _OVERHEAD
        self.can_keep = self._longest > 0
        # The one that was used last is the last.
        self._revisions: OrderedDict[bytes, tuple[bytes, bytes, None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._revisions)

    def report(self) -> CacheReport:
        """Return how much is in it, and how much it was used."""
        return CacheReport(len(self), self.size, self.hits)

    def load_before(self, oid: bytes, tid: bytes) -> Revision:
        """Return the current revision of an object if it is before `tid`; None if it is not here.

        It is the current one of what has been published.
        """
        revision = self._revisions.get(oid)
        if revision is None or revision[1] >= tid:
            return None
        self.hits += 1
        self._revisions.move_to_end(oid)
        return revision

    def has(self, oid: bytes, tid: bytes) -> bool:
        """Return whether `load_before` would return a revision now."""
        revision = self._revisions.get(oid)
        return revision is not None and revision[1] < tid

    def loaded(self, oid: bytes, revision: Revision | bool) -> None:
        """Keep what the storage has returned, if it is the current revision.

        Call this before a later change of the object is published: the revision must be current in
        a state of the storage that has all that was published.
        """
        if not revision or isinstance(revision, bool):
            return
        data, serial, end = revision
        if end is not None or len(data) > self._longest:
            return
        self._remove(oid)
        self._revisions[oid] = data, serial, None
        self.size += len(data) + _OVERHEAD
        while self.size > self._most:
            _, (oldest, _, _) = self._revisions.popitem(last=False)
            self.size -= len(oldest) + _OVERHEAD

    def changed(self, tid: bytes, oids: Iterable[bytes]) -> None:
        """Remove the revisions that are older than the published transaction `tid`."""
        if not self._revisions:
            return
        for oid in oids:
            revision = self._revisions.get(oid)
            if revision is not None and revision[1] < tid:
                self._remove(oid)

    def forget(self) -> None:
        """Remove all: a pack may have removed objects, or it is not known what has changed."""
        self._revisions.clear()
        self.size = 0

    def _remove(self, oid: bytes) -> None:
        revision = self._revisions.pop(oid, None)
        if revision is not None:
            self.size -= len(revision[0]) + _OVERHEAD
