"""What the last transactions changed, for clients that were away for a while."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import takewhile

__all__ = ["InvalidationQueue"]


#: Later than any transaction.
_NEVER = b"\xff" * 8

#: What an entry takes (bytes) besides its oids: a tuple, a tid, and the place in the queue.
_OVERHEAD = 160


class InvalidationQueue:
    """The oids that the last transactions changed, oldest first.

    They are kept joined: clients of ours are sent them so, and a list takes more memory.

    :param size: how many transactions to keep, whatever memory they take.
    :param most: how much memory (bytes) may be used to keep more of them.
    :param last: the tid of the storage's last transaction.
    :param recent: what is already known of the last transactions, oldest first.
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
        # The queue has every transaction after this tid.
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
        """What happened up to now is not known any more: nobody can be told what was missed."""
        self._entries.clear()
        self._used = 0
        self._complete_since = _NEVER

    def append(self, tid: bytes, oids: Sequence[bytes]) -> None:
        """Add a transaction, which must be later than all before."""
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

    def since(self, tid: bytes) -> tuple[bytes, bytes] | None:
        """Return the last tid, and the oids that were changed after `tid`, joined.

        An oid occurs as often as it was changed. None if the queue does not reach back that far.
        """
        if tid < self._complete_since:
            return None
        later = takewhile(lambda entry: entry[0] > tid, reversed(self._entries))
        return self.last, b"".join(oids for _, oids in later)
