"""Remembers which records a client was sent."""

from __future__ import annotations

from array import array

from .changes import Changes

__all__ = ["Sent"]

#: How many slots there are at first, and at most. A slot takes 16 bytes.
_FIRST = 2**8
_MOST = 2**14

_number = int.from_bytes


class Sent:
    """The last records that a client was sent: a table in which each object has one slot.

    An object takes the slot of another one, which is forgotten and may be sent again. So the table
    takes no more than 256 KiB. A set of all oids would grow with the database, and would have to
    be told of every change, for each client; here, `Changes` knows them for all clients.
    """

    def __init__(self) -> None:
        self._make(_FIRST)

    def _make(self, size: int) -> None:
        self._oids = array("Q", bytes(8 * size))
        # When it was sent, and one more; 0 for an empty slot.
        self._times = array("Q", bytes(8 * size))
        self._mask = size - 1
        self._count = 0

    def has(self, oid: bytes, changes: Changes) -> bool:
        """Return whether the client was sent the current revision of an object."""
        number = _number(oid, "big")
        slot = (number ^ number >> 14) & self._mask
        time = self._times[slot]
        if not time or self._oids[slot] != number:
            return False
        return not changes.is_changed(oid, time - 1)

    def add(self, oid: bytes, now: int) -> None:
        """Note that the client is sent the current revision of an object.

        :param now: see `Changes`.
        """
        number = _number(oid, "big")
        slot = (number ^ number >> 14) & self._mask
        self._count += not self._times[slot]
        self._oids[slot] = number
        self._times[slot] = now + 1
        if 2 * self._count > self._mask < _MOST - 1:
            self._grow()

    def _grow(self) -> None:
        oids, times = self._oids, self._times
        self._make(4 * len(oids))
        for number, time in zip(oids, times, strict=True):
            if time:
                slot = (number ^ number >> 14) & self._mask
                self._count += not self._times[slot]
                self._oids[slot] = number
                self._times[slot] = time

    def clear(self) -> None:
        """Forget all: the client does not keep what it is sent."""
        self._make(_FIRST)
