"""Tells whether a database is the one that a backup was made of.

A ZODB database has no name of its own. It is recognised by revisions that were backed up: those of
the root object, and of objects that were changed last. A pack may remove some of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ZODB.utils import p64, u64, z64

from .content import data_digest
from .errors import BackupError
from .manifest import Landmark
from .source import Source

__all__ = ["Landmarks", "check_same"]

#: How many revisions are remembered, beside that of the root object.
_COUNT = 64


class Landmarks:
    """Remembers the revisions by which a database will be recognised.

    :param before: those of the piece before.
    """

    def __init__(self, before: Iterable[Landmark] = ()) -> None:
        self._root: Landmark | None = None
        self._last: deque[Landmark] = deque(maxlen=_COUNT)
        for mark in before:
            self._add(mark)

    def record(self, oid: bytes, tid: bytes, digest: bytes, is_new: bool) -> None:
        """Note a record that is backed up.

        :param is_new: whether the object was not there before. Such records tell less, and are
            noted only at the beginning.
        """
        if oid == z64 or not is_new or len(self._last) < _COUNT // 2:
            self._add(Landmark(oid.hex(), tid.hex(), digest.hex()))

    def _add(self, mark: Landmark) -> None:
        if mark.oid == z64.hex():
            self._root = mark
        else:
            self._last.append(mark)

    def all(self) -> list[Landmark]:
        """Return all of them, in the order of their transactions."""
        return [*([] if self._root is None else [self._root]), *self._last]


def check_same(target: str, last: bytes, landmarks: list[Landmark], source: Source) -> None:
    """Check that a database is the one of a backup, with the same history.

    :param target: the backup's folder.
    :param last: its last transaction.
    :raises BackupError: it is another one, or has gone another way.
    """
    found = [_compare(mark, source) for mark in landmarks]
    if landmarks and True not in found:
        raise BackupError(
            f"{target} has the backup of another database than {source.name}; correct one of them, "
            "or choose a new folder"
        )
    if False in found or source.last < last:
        raise BackupError(
            f"{target} has transactions that {source.name} does not have: that was restored from "
            "an older backup, or is a copy that is behind; keep this folder, and back up to a new "
            "one"
        )


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
