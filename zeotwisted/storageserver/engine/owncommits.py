"""The transactions of our clients in a shared database, until they are told of."""

from __future__ import annotations

from collections.abc import Collection
from threading import Condition

from .engine import OwnCommit

__all__ = ["OwnCommits"]


class OwnCommits:
    """Those that are finishing, or have not been told of yet. Call the methods in any thread.

    Each has a mark.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._by_mark: dict[bytes, OwnCommit] = {}
        self._finished: dict[bytes, tuple[bytes, OwnCommit]] = {}

    def begin(self, own: OwnCommit) -> None:
        """Add one that begins to finish."""
        assert own.mark is not None
        with self._changed:
            self._by_mark[own.mark] = own

    def failed(self, own: OwnCommit) -> None:
        """Remove one whose finish has failed.

        The database may have it all the same. Then the client is told of it as of another's.
        """
        assert own.mark is not None
        with self._changed:
            self._by_mark.pop(own.mark, None)
            self._changed.notify_all()

    def finished(self, own: OwnCommit, tid: bytes) -> bool:
        """Note the tid of one; return False if it has been told already."""
        assert own.mark is not None
        with self._changed:
            is_new = own.mark in self._by_mark
            if is_new:
                self._finished[own.mark] = tid, own
            self._changed.notify_all()
        return is_new

    def all_finished(self) -> dict[bytes, tuple[bytes, OwnCommit]]:
        """Return those that are committed, with their tids, by their marks."""
        with self._changed:
            return dict(self._finished)

    def wait_for(self, oids: Collection[bytes], marks: Collection[bytes], seconds: float) -> None:
        """Wait for the end of those that the database has, perhaps, without their marks.

        :param oids: what was changed by transactions that the database has.
        :param marks: the marks that it has.
        :param seconds: how long to wait at most.
        """
        changed = set(oids)

        def ended() -> bool:
            return not any(
                own.oids
                and mark not in marks
                and mark not in self._finished
                and changed.issuperset(own.oids)
                for mark, own in self._by_mark.items()
            )

        with self._changed:
            self._changed.wait_for(ended, seconds)

    def pop(self, mark: bytes) -> OwnCommit | None:
        """Return and remove the transaction with a mark, if it is one of ours."""
        with self._changed:
            own = self._by_mark.pop(mark, None)
            self._finished.pop(mark, None)
        return own
