"""An append-only log in a part of a file, used as a ring.

Every record contains its position and a checksum that chains it to the record before. So the valid
records are always a prefix of what was written: an incomplete record ends the log, and records of
an earlier round are never taken for new ones. Positions only grow; the place of a record in the
file is its position modulo the log's capacity.

The state in the file's first block has the position of the first record, and a recent position of
the end. Opening reads on from there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from mmap import mmap
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from ZODB.utils import p64, z64

__all__ = ["END", "FORGET", "HEADER", "LAST_TID", "STATE_SIZE", "STORE"]
__all__ += ["Damaged", "Log", "Record", "write_all"]

#: The kinds of records.
STORE, END, FORGET, LAST_TID, _PAD = range(1, 6)

# Kind, length of the data, position, oid, start, end; then a checksum of these and the data, and
# a checksum of the whole header and the record before.
_META = Struct(">B3xIQ8s8s8s")
_CHECKS = Struct(">II")
HEADER = _META.size + _CHECKS.size

# Position and chain of the first record, and of a place near the end; the last tid there.
_STATE = Struct(">QIQI8s")
STATE_SIZE = _STATE.size + 4

#: How many bytes `Log.records` reads at first, and at most, at a time. It begins with little: after
#: the place that the state names, where `Log.open` reads on, there is mostly nothing.
_FIRST_BLOCK = 4096
_BLOCK = 1 << 20


#: Oid, start, end and data.
Stored = tuple[bytes, bytes, bytes, bytes]


class Damaged(Exception):
    """The file is damaged, or not usable as a cache."""


def write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write `data` to a file, however many bytes a call takes."""
    while (written := os.pwrite(descriptor, data, offset)) < len(data):
        data, offset = data[written:], offset + written


class Record(NamedTuple):
    """A record without its data."""

    position: int
    kind: int
    oid: bytes
    start: bytes
    end: bytes
    #: How many bytes of data follow.
    length: int
    #: The position of the next record, and the checksum that it is chained to.
    next: int
    chain: int


class Log:
    """One log.

    :param fd: the open file, which belongs to the caller.
    :param map: the file in memory, for reading.
    :param state_offset: where the state is in the file.
    :param offset: where the records are in the file.
    :param capacity: how many bytes the records may take.
    """

    def __init__(self, fd: int, map: mmap, state_offset: int, offset: int, capacity: int) -> None:
        self._fd = fd
        self._map = map
        self._state_offset = state_offset
        self._offset = offset
        self.capacity = capacity
        #: How many bytes are cleared at a time, and at most read when the log is opened.
        self.step = max(HEADER, min(capacity // 32, 256 * 1024))
        #: How many bytes stay free for invalidations while there is no index yet.
        self.spare = min(capacity // 32, 4 * 1024 * 1024)
        self.tail = self.head = self._noted = 0
        self._tail_chain = self._head_chain = 0
        self.last_tid = z64

    def create(self) -> None:
        """Write the state of an empty log."""
        self._write_state()

    def open(self) -> None:
        """Read the state and find the end of the log.

        :raises Damaged: the state is damaged.
        """
        state = os.pread(self._fd, STATE_SIZE, self._state_offset)
        if len(state) < STATE_SIZE or crc32(state[:-4]).to_bytes(4, "big") != state[-4:]:
            raise Damaged("its state is damaged")
        self.tail, self._tail_chain, self.head, self._head_chain, self.last_tid = _STATE.unpack(
            state[:-4]
        )
        if not self.tail <= self.head <= self.tail + self.capacity:
            raise Damaged("its state makes no sense")
        self._noted = self.head
        for record in self.records(self.head, self._head_chain, check=True):
            if record.kind == LAST_TID:
                self.last_tid = record.start
            self.head, self._head_chain = record.next, record.chain

    def _write_state(self) -> None:
        state = _STATE.pack(self.tail, self._tail_chain, self.head, self._head_chain, self.last_tid)
        write_all(self._fd, state + crc32(state).to_bytes(4, "big"), self._state_offset)
        self._noted = self.head

    def room(self, length: int, spare: bool = False) -> bool:
        """Return whether a record with so many bytes of data may be appended.

        :param spare: whether `spare` bytes have to be free after that.
        """
        size = HEADER + length + (self.spare if spare else 0)
        return self._place(size) + size <= self.tail + self.capacity

    def fits(self, length: int) -> bool:
        """Return whether a record with so many bytes of data fits into an empty log."""
        return HEADER + length + self.spare <= self.capacity - 2 * self.step

    def _place(self, size: int) -> int:
        """Return the position for a record of `size` bytes; records are never split."""
        left = self.capacity - self.head % self.capacity
        return self.head if size <= left else self.head + left

    def append(
        self, kind: int, oid: bytes = z64, start: bytes = z64, end: bytes = z64, data: bytes = b""
    ) -> int:
        """Write a record, for which there must be room; return its position."""
        position = self._place(HEADER + len(data))
        if position != self.head:
            self._pad(position)
        meta = _META.pack(kind, len(data), position, oid, start, end)
        check = crc32(data, crc32(meta))
        checked = meta + check.to_bytes(4, "big")
        chain = crc32(checked, self._head_chain)
        write_all(
            self._fd,
            b"".join((checked, chain.to_bytes(4, "big"), data)),
            self._offset + position % self.capacity,
        )
        self.head, self._head_chain = position + HEADER + len(data), chain
        if kind == LAST_TID:
            self.last_tid = start
        if self.head - self._noted > self.step:
            self._write_state()
        return position

    def _pad(self, position: int) -> None:
        """End this round with a record that `records` skips, if there is space for its header."""
        if position - self.head >= HEADER:
            meta = _META.pack(_PAD, 0, self.head, z64, z64, z64)
            checked = meta + crc32(meta).to_bytes(4, "big")
            self._head_chain = crc32(checked, self._head_chain)
            chain = self._head_chain.to_bytes(4, "big")
            write_all(self._fd, checked + chain, self._offset + self.head % self.capacity)
        self.head = position

    def note_last_tid(self, tid: bytes) -> None:
        """Append the last tid, and the present beginning of the log."""
        self.append(LAST_TID, start=tid, end=p64(self.tail))

    def read(self, position: int, check: bool = True) -> Stored | None:
        """Return oid, start, end and data of a store; None if the file is damaged there.

        :param check: compute the checksum.
        """
        offset = self._offset + position % self.capacity
        kind, length, actual, oid, start, end = _META.unpack_from(self._map, offset)
        if kind != STORE or actual != position or length > self.capacity:
            return None
        data = self._map[offset + HEADER : offset + HEADER + length]
        if check:
            (expected, _chain) = _CHECKS.unpack_from(self._map, offset + _META.size)
            if crc32(data, crc32(self._map[offset : offset + _META.size])) != expected:
                return None
        return oid, start, end, data

    def data(self, record: Record) -> bytes:
        """Return the data of a record.

        :raises Damaged: the file is damaged there.
        """
        offset = self._offset + record.position % self.capacity
        data = self._map[offset + HEADER : offset + HEADER + record.length]
        (expected, _chain) = _CHECKS.unpack_from(self._map, offset + _META.size)
        if crc32(data, crc32(self._map[offset : offset + _META.size])) != expected:
            raise Damaged("one of its records is damaged")
        return data

    @property
    def beginning(self) -> tuple[int, int]:
        """The arguments of `records` for all records."""
        return self.tail, self._tail_chain

    def records(self, position: int, chain: int, check: bool = False) -> Iterator[Record]:
        """Return the valid records in order.

        :param position: the position of the first one.
        :param chain: the chain of the record before it.
        :param check: verify the data, too.
        """
        capacity = self.capacity
        block, first, size = b"", position, _FIRST_BLOCK
        while True:
            left = capacity - position % capacity
            if left < HEADER:
                position += left
                left = capacity
            if not first <= position <= first + len(block) - HEADER:
                first = position
                block = os.pread(self._fd, min(size, left), self._offset + position % capacity)
                size = min(4 * size, _BLOCK)
                if len(block) < HEADER:
                    return
            at = position - first
            kind, length, actual, oid, start, end = _META.unpack_from(block, at)
            expected, following = _CHECKS.unpack_from(block, at + _META.size)
            chain = crc32(block[at : at + _META.size + 4], chain)
            if chain != following or actual != position or HEADER + length > left:
                return
            if check:
                data = os.pread(self._fd, length, self._offset + position % capacity + HEADER)
                if crc32(data, crc32(block[at : at + _META.size])) != expected:
                    return
            if kind == _PAD:
                position += left
            else:
                next = position + HEADER + length
                yield Record(position, kind, oid, start, end, length, next, chain)
                position = next

    def clear_tail(self, keep: Callable[[Record], bool]) -> list[Stored]:
        """Remove records at the beginning; return those stores that `keep` selects.

        :param keep: is called with each store that is removed.
        :raises Damaged: a record is damaged.
        """
        kept = []
        stop = min(self.tail + self.step, self.head)
        tail, chain = self.tail, self._tail_chain
        for record in self.records(*self.beginning):
            if record.kind == STORE and keep(record):
                stored = self.read(record.position)
                if stored is not None:
                    kept.append(stored)
            tail, chain = record.next, record.chain
            if tail >= stop:
                break
        if tail < stop:
            raise Damaged("its records are damaged")
        self.tail, self._tail_chain = tail, chain
        # Before the freed space is overwritten: the old state points into it.
        self._write_state()
        return kept

    def clear(self) -> None:
        """Forget all records; the last tid stays."""
        self.tail, self._tail_chain = self.head, self._head_chain
        if self.head % self.capacity:
            # Begin a new round, so that the free space is in one piece.
            self.head += self.capacity - self.head % self.capacity
            self.tail = self.head
        self._write_state()
