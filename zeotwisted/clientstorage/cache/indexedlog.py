"""A log of revisions with an index: together they are a consistent cache."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from BTrees.QQBTree import QQBTree
from ZODB.utils import p64, u64, z64

from zeotwisted.protocol import numbers

from .log import END, FORGET, HEADER, LAST_TID, STORE, Damaged, Log, Record, Stored

__all__ = ["IndexedLog"]


#: Flags of a record. _ASKED_FOR: it was requested since it was appended. _CHECKED: its checksum was
#: verified. _PASSED: it was appended again although it was not requested.
_ASKED_FOR, _CHECKED, _PASSED = 1, 2, 4
#: The number of bits for flags; the position is in the bits above them.
_FLAGS = 3


class IndexedLog:
    """The revisions in a log.

    The index always equals the result of replaying the log, so the process may end at any time.
    Each change needs room in the log for its record.

    Most objects have only the current revision, for which the index takes up to 36 bytes.
    """

    def __init__(self, log: Log) -> None:
        self.log = log
        # By oid: the position and the flags of the current revision.
        self._current = QQBTree()
        self._current_length = 0
        # By oid: start, end and position of earlier revisions, in ascending order.
        self._earlier: dict[int, list[tuple[int, int, int]]] = {}
        self._earlier_length = 0
        self._replayed = log.beginning

    def __len__(self) -> int:
        return self._current_length + self._earlier_length

    def open(self) -> None:
        """Find the end of the log.

        :raises Damaged: the log is damaged.
        """
        self.log.open()
        self._replayed = self.log.beginning

    # Finding.

    def current(self, oid: bytes) -> Stored | None:
        """Return the current revision, and mark it as requested."""
        number = u64(oid)
        place = self._current.get(number)
        if place is None:
            return None
        stored = self.log.read(place >> _FLAGS, not place & _CHECKED)
        if stored is None or stored[0] != oid:
            # The record is damaged on the disk.
            self._drop_current(number)
            return None
        asked_for = place | _ASKED_FOR | _CHECKED
        if place != asked_for:
            self._current[number] = asked_for
        return stored

    def earlier(self, oid: bytes, before: bytes) -> tuple[bytes, bytes, bytes] | None:
        """Return data, start and end of the earlier revision that was valid before a tid."""
        tid = u64(before)
        for start, end, position in self._earlier.get(u64(oid), ()):
            if start < tid <= end:
                stored = self.log.read(position)
                if stored is not None and stored[0] == oid:
                    return stored[3], stored[1], p64(end)
        return None

    def has_earlier(self, oid: bytes, start: bytes) -> bool:
        """Return whether there is an earlier revision with that start."""
        revisions = self._earlier.get(u64(oid))
        return revisions is not None and any(known[0] == u64(start) for known in revisions)

    def revisions(self) -> Iterator[tuple[bytes, bytes, bytes | None, bytes]]:
        """Return oid, start, end and data of all revisions."""
        for place in self._current.values():
            stored = self.log.read(place >> _FLAGS)
            if stored is not None:
                yield stored[0], stored[1], None, stored[3]
        for known in self._earlier.values():
            for _start, end, position in known:
                stored = self.log.read(position)
                if stored is not None:
                    yield stored[0], stored[1], p64(end), stored[3]

    # Changing.

    def store(
        self, oid: bytes, start: bytes, end: bytes | None, data: bytes, indexed: bool = True
    ) -> None:
        """Add a revision.

        :param indexed: whether to add it to the index; otherwise `replay` does so.
        """
        position = self.log.append(STORE, oid, start, end or z64, data)
        if indexed:
            self._stored(oid, start, end or z64, position)

    def end(self, oid: bytes, tid: bytes, indexed: bool = True) -> bool:
        """Apply an invalidation by the transaction `tid`; return whether anything may change."""
        if not indexed:
            self.log.append(END, oid, end=tid)
            return True
        start = self.current_start(oid)
        if start is None or start >= tid:
            return False
        self.log.append(END, oid, end=tid)
        self._ended(oid, start, tid)
        return True

    def forget(self, oids: Sequence[bytes], indexed: bool = True) -> bool:
        """Forget objects; return whether there may have been revisions of them."""
        joined = b"".join(oids)
        known = self._known(joined) if indexed else set()
        if indexed:
            joined = b"".join(map(p64, known))
        if joined:
            self.log.append(FORGET, data=joined)
        self._forgotten(known)
        return bool(joined)

    def current_of(self, oids: Iterable[int]) -> set[int]:
        """Return those objects, given as numbers, that have a current revision."""
        return set(filter(self._current.__contains__, oids))

    def _known(self, joined: bytes) -> set[int]:
        """Return those oids of which there are revisions, as numbers."""
        of_many = numbers(joined)
        known = self.current_of(of_many)
        if self._earlier:
            known.update(filter(self._earlier.__contains__, of_many))
        return known

    def clear(self) -> None:
        """Forget everything."""
        self.log.clear()
        self._current.clear()
        self._earlier.clear()
        self._current_length = self._earlier_length = 0

    def keep(self, oid: bytes, start: bytes, data: bytes) -> None:
        """Append again a current revision that was not requested, and mark it as passed."""
        self.store(oid, start, None, data)
        self._current[u64(oid)] |= _PASSED

    def clear_tail(self, small: float) -> tuple[list[Stored], list[Stored], list[int]]:
        """Make room at the beginning of the log.

        :param small: a record of at most this size (bytes) may be kept once although it was not
            requested; if negative, no record is kept.
        :return: the current revisions that were requested, those that are kept although they were
            not, and the oids of the dropped ones. The caller appends the first two again.
        :raises Damaged: the log is damaged.
        """
        dropped = []
        asked_for = set()

        def keep(record: Record) -> bool:
            number = u64(record.oid)
            place = self._current.get(number)
            if place is None or place >> _FLAGS != record.position:
                self._drop_earlier(number, record.position)
                return False
            self._drop_current(number)
            if small >= 0:
                if place & _ASKED_FOR:
                    asked_for.add(record.oid)
                    return True
                if not place & _PASSED and HEADER + record.length <= small:
                    return True
            dropped.append(number)
            return False

        kept = self.log.clear_tail(keep)
        wanted = [stored for stored in kept if stored[0] in asked_for]
        spared = [stored for stored in kept if stored[0] not in asked_for]
        return wanted, spared, dropped

    # Replaying.

    def replay(self, count: int) -> bool:
        """Add up to `count` more records to the index; return whether it is complete.

        :raises Damaged: the log is damaged.
        """
        first = self.log.tail
        begin = self._replayed[0]
        for record in self.log.records(*self._replayed):
            if record.position >= self.log.head:
                # Its write was interrupted: the header is there, and the data are not. The next
                # record takes its place.
                break
            self._replay(record, first)
            self._replayed = record.next, record.chain
            count -= 1
            if not count:
                break
        complete = self._replayed[0] >= self.log.head
        if not complete and self._replayed[0] == begin:
            raise Damaged("its records are damaged")
        return complete

    def _replay(self, record: Record, first: int) -> None:
        if record.kind == STORE:
            self._stored(record.oid, record.start, record.end, record.position)
        elif record.kind == END:
            start = self.current_start(record.oid)
            if start is not None and start < record.end:
                self._ended(record.oid, start, record.end)
        elif record.kind == FORGET:
            self._forgotten(self._known(self.log.data(record)))
        elif record.kind == LAST_TID and u64(record.end) > first:
            # After a power failure: the records reached the disk, but the state did not.
            raise Damaged("its state is older than its records")

    # The index.

    def has_current(self, oid: bytes) -> bool:
        """Return whether there is a current revision."""
        return u64(oid) in self._current

    def requested(self, first: int, most: int, all: bool) -> tuple[list[int], int | None]:
        """Return the oids of current revisions that were requested since they were appended.

        :param first, most: look at so many, from this oid on.
        :param all: return the others, too.
        :return: the oids, and where to go on; None if there are no more.
        """
        found = list(islice(self._current.items(first), most + 1))
        wanted = [number for number, place in found[:most] if all or place & _ASKED_FOR]
        return wanted, found[most][0] if len(found) > most else None

    def current_start(self, oid: bytes) -> bytes | None:
        """Return the start of the current revision."""
        place = self._current.get(u64(oid))
        if place is None:
            return None
        stored = self.log.read(place >> _FLAGS)
        if stored is None or stored[0] != oid:
            self._drop_current(u64(oid))
            return None
        return stored[1]

    def _stored(self, oid: bytes, start: bytes, end: bytes, position: int) -> None:
        number = u64(oid)
        if end != z64:
            if not self.has_earlier(oid, start):
                insort(self._earlier.setdefault(number, []), (u64(start), u64(end), position))
                self._earlier_length += 1
        elif self._current.insert(number, position << _FLAGS):
            self._current_length += 1
        else:
            known = self.current_start(oid)
            if known is not None and known > start:
                raise Damaged("its records contradict each other")
            if known is None:
                self._current_length += 1
            self._current[number] = position << _FLAGS

    def _ended(self, oid: bytes, start: bytes, end: bytes) -> None:
        number = u64(oid)
        position = self._current[number] >> _FLAGS
        self._drop_current(number)
        self._stored(oid, start, end, position)

    def _forgotten(self, known: Iterable[int]) -> None:
        for number in known:
            if number in self._current:
                self._drop_current(number)
            self._earlier_length -= len(self._earlier.pop(number, ()))

    def _drop_current(self, number: int) -> None:
        del self._current[number]
        self._current_length -= 1

    def _drop_earlier(self, number: int, position: int) -> None:
        revisions = self._earlier.get(number)
        if revisions is None:
            return
        rest = [known for known in revisions if known[2] != position]
        self._earlier_length -= len(revisions) - len(rest)
        if rest:
            self._earlier[number] = rest
        else:
            del self._earlier[number]
