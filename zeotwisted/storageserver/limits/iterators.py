"""How many iterators a client may have, while others have some, too."""

from __future__ import annotations

from typing import NamedTuple

from .budget import Budget

__all__ = ["IteratorCount", "IteratorLimits"]

#: How many iterators of a client may be open at the same time. Each may keep a file open.
_MOST_OPEN = 20

#: How many iterators of a client are kept, open or not. One that is not open takes some hundred
#: bytes. ZEO's clients do not report dropped iterators while they iterate.
_MOST_KEPT = 10_000

#: Any client may keep this many, whatever others have.
_FEW = 10


class IteratorCount(NamedTuple):
    """How many iterators one client has, or may have."""

    opened: int
    kept: int


NONE = IteratorCount(0, 0)


class IteratorLimits:
    """Divides iterators between clients. Use it in the reactor's thread only.

    While there is room, a client may have as many as it likes, up to a limit. When there is no
    room, it may have an equal share.

    :param opened: counts the iterators that keep a file open.
    :param kept: counts all iterators.
    """

    def __init__(self, opened: Budget, kept: Budget) -> None:
        self._opened = opened
        self._kept = kept
        #: How many clients have iterators.
        self._clients = 0

    def allowance(self, own: IteratorCount) -> IteratorCount:
        """Return how many iterators a client may have when its next call is done.

        :param own: how many it has.
        """
        clients = max(1, self._clients + (not own.kept))
        opened = min(_MOST_OPEN, own.opened + max(0, self._opened.most - self._opened.used))
        if not self._opened.fits():
            self._opened.strike()
            opened = min(opened, self._opened.most // clients)
        kept = _MOST_KEPT
        if not self._kept.fits():
            self._kept.strike()
            kept = max(_FEW, min(kept, self._kept.most // clients))
        return IteratorCount(opened, kept)

    def changed(self, before: IteratorCount, after: IteratorCount) -> None:
        """A client had `before`, and has `after`."""
        self._opened.add(after.opened - before.opened)
        self._kept.add(after.kept - before.kept)
        self._clients += bool(after.kept) - bool(before.kept)
