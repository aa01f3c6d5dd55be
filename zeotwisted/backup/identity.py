"""Tells whether a database is the one that a backup was made of.

A ZODB database has no name of its own. It is recognised by revisions that were backed up: those of
objects that were changed last, which tell whether its history went on from there; and those of
objects here and there, most of which have not changed for long. A pack may remove some of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ZODB.fsIndex import fsIndex
from ZODB.utils import p64, u64

from .content import data_digest
from .errors import BackupError
from .manifest import Landmark, Manifest
from .source import Source

__all__ = ["Landmarks", "is_same", "landmarks_of"]

#: How many revisions are remembered of either kind.
_COUNT = 64


class Landmarks:
    """Remembers the revisions by which a database will be recognised.

    :param before: those of the piece before.
    """

    def __init__(self, before: Iterable[Landmark] = ()) -> None:
        self._last: deque[Landmark] = deque(before, maxlen=_COUNT)

    def record(self, oid: bytes, tid: bytes, digest: bytes, is_new: bool) -> None:
        """Note a record that is backed up.

        :param is_new: whether the object was not there before. Such records tell less, and are
            noted only at the beginning.
        """
        if not is_new or len(self._last) < _COUNT // 2:
            self._last.append(Landmark(oid.hex(), tid.hex(), digest.hex()))

    def all(self) -> list[Landmark]:
        """Return all of them, in the order of their transactions."""
        return list(self._last)


def landmarks_of(index: fsIndex, last: bytes, source: Source) -> list[Landmark]:
    """Return the revisions of some objects, among them the root object.

    :param index: has the oids of all objects.
    :param last: the transaction whose state is meant.
    """
    found = []
    step = u64(index.maxKey()) // _COUNT + 1 if len(index) else 1
    oids = {_oid_from(index, number * step) for number in range(_COUNT)}
    for oid in sorted(oid for oid in oids if oid is not None):
        revision = source.load_before(oid, p64(u64(last) + 1))
        if revision is not None:
            data, tid = revision
            found.append(Landmark(oid.hex(), tid.hex(), data_digest(data).hex()))
    return found


def _oid_from(index: fsIndex, number: int) -> bytes | None:
    try:
        oid: bytes = index.minKey(p64(number))
    except ValueError:
        return None
    return oid


def is_same(target: str, last: Manifest, source: Source) -> bool:
    """Return whether a database is the one of a backup, with the same history.

    False if it cannot be told, because all that is known of it was changed and packed away.

    :param target: the backup's folder.
    :param last: its last piece.
    :raises BackupError: it is another one, or has gone another way.
    """
    found = [_compare(mark, source) for mark in last.landmarks]
    if found and set(found) == {None} and last.source == source.name:
        return False
    if found and True not in found:
        raise BackupError(
            f"{target} has the backup of another database than {source.name}; correct one of them, "
            "or choose a new folder"
        )
    if False in found or source.last.hex() < last.last:
        raise BackupError(
            f"{target} has transactions that {source.name} does not have: that was restored from "
            "an older backup, or is a copy that is behind; keep this folder, and back up to a new "
            "one"
        )
    return True


def _compare(mark: Landmark, source: Source) -> bool | None:
    """Return whether the database has this revision; None if it was packed away."""
    oid, tid = bytes.fromhex(mark.oid), bytes.fromhex(mark.tid)
    found = source.load_before(oid, p64(u64(tid) + 1))
    if found is None:
        return None
    data, found_tid = found
    # A pack that removes a revision removes those before it, too. So an older one shows that the
    # database never had this one.
    return found_tid == tid and data_digest(data).hex() == mark.sha256
