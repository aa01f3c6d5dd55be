"""Remembers which revisions a client was sent."""

from __future__ import annotations

from array import array

__all__ = ["Sent"]

#: How many slots there are at first, and at most. A slot takes 16 bytes.
_FIRST = 2**8
_MOST = 2**14

_number = int.from_bytes


class Sent:
    """The last revisions that a client was sent: a table in which each object has one slot.

    An object takes the slot of another one, which is forgotten and may be sent again. So the table
    takes no more than 256 KiB. A set of all oids would grow with the database, and would have to
    be told of every change; here the serial shows that a revision is another one.
    """

    def __init__(self) -> None:
        self._make(_FIRST)

    def _make(self, size: int) -> None:
        self._oids = array("Q", bytes(8 * size))
        self._serials = array("Q", bytes(8 * size))
        self._mask = size - 1
        self._count = 0

    def add(self, oid: bytes, serial: bytes) -> bool:
        """Note that the client is sent a revision; return whether that is new."""
        number, start = _number(oid, "big"), _number(serial, "big")
        slot = (number ^ number >> 14) & self._mask
        if self._oids[slot] == number and self._serials[slot] == start:
            return False
        if not self._serials[slot]:
            self._count += 1
        self._oids[slot] = number
        self._serials[slot] = start
        if 2 * self._count > self._mask < _MOST - 1:
            self._grow()
        return True

    def _grow(self) -> None:
        oids, serials = self._oids, self._serials
        self._make(4 * len(oids))
        for number, serial in zip(oids, serials, strict=True):
            if serial:
                slot = (number ^ number >> 14) & self._mask
                self._count += not self._serials[slot]
                self._oids[slot] = number
                self._serials[slot] = serial

    def clear(self) -> None:
        """Forget all: the client does not keep what it is sent."""
        self._make(_FIRST)
