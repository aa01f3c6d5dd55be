"""The invalidations of the last transactions, for clients that reconnect."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import takewhile

from ZODB.TimeStamp import TimeStamp
from ZODB.utils import z64

from ..figures import QueueReport

__all__ = ["InvalidationQueue"]


#: A tid that is later than all transactions.
_NEVER = b"\xff" * 8

#: The memory (bytes) of an entry besides its oids: a tuple, a tid, and the place in the queue.
_OVERHEAD = 160


class InvalidationQueue:
    """The oids that the last transactions changed, oldest first.

    The oids of a transaction are joined to one byte string: zeotwisted's clients receive them in
    this form, and a list takes more memory.

    :param size: how many transactions to keep at least.
    :param most: how much memory (bytes) to use for more transactions.
    :param last: the tid of the storage's last transaction.
    :param recent: the tids and oids of the last transactions, oldest first, as far as the storage
        has them.
    """

    def __init__(
        self,
        size: int,
        most: int,
        last: bytes,
        recent: Iterable[tuple[bytes, Sequence[bytes]]] = (),
    ) -> None:
        self._size = size
        self._most = most
        self._used = 0
        self._entries: deque[tuple[bytes, bytes]] = deque()
        # The queue contains every transaction after this tid.
        self._complete_since = last
        #: The tid of the last transaction that was published.
        self.last = last
        for index, (tid, oids) in enumerate(recent):
            if index == 0:
                self._complete_since = tid
            else:
                self.append(tid, oids)
        self.last = last

    def forget(self) -> None:
        """Remove all transactions. `since` returns None until the next one is added."""
        self._entries.clear()
        self._used = 0
        self._complete_since = _NEVER

    def append(self, tid: bytes, oids: Sequence[bytes]) -> None:
        """Add a transaction, which must be later than all in the queue."""
        if self._complete_since == _NEVER:
            self._complete_since = tid
        else:
            joined = b"".join(oids)
            self._entries.append((tid, joined))
            self._used += _OVERHEAD + len(joined)
        self.last = tid
        while len(self._entries) > self._size and self._used > self._most:
            self._complete_since, joined = self._entries.popleft()
            self._used -= _OVERHEAD + len(joined)

    def __contains__(self, tid: bytes) -> bool:
        not_before = takewhile(lambda entry: entry[0] >= tid, reversed(self._entries))
        return any(entry_tid == tid for entry_tid, _ in not_before)

    def report(self) -> QueueReport:
        """Return how much the queue covers."""
        since = self._complete_since
        known = None if since in (_NEVER, z64) else TimeStamp(since).timeTime()
        return QueueReport(len(self._entries), self._used, known)

    def knows(self, tid: bytes) -> bool:
        """Return whether `tid` is in the queue, or the last one before it."""
        return tid in (self._complete_since, self.last) or tid in self

    def since(self, tid: bytes) -> tuple[bytes, bytes] | None:
        """Return the last tid, and the joined oids that were changed after `tid`.

        An oid occurs once for each transaction that changed it. None if the queue does not contain
        all transactions after `tid`.
        """
        if tid < self._complete_since:
            return None
        later = takewhile(lambda entry: entry[0] > tid, reversed(self._entries))
        return self.last, b"".join(oids for _, oids in later)
