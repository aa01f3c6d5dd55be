"""Remembers which object clients used after which one."""

from __future__ import annotations

from array import array

__all__ = ["Successors"]

#: How many objects are remembered. Each takes 17 bytes.
_SLOTS = 2**16

#: How often a successor counts at most.
_CERTAIN = 3

_number = int.from_bytes


class Successors:
    """The successor of each object, and how often it was that in a row, up to three times.

    As in a processor's table of branches, one exception does not replace what was often seen.
    """

    def __init__(self) -> None:
        # Made when there is something to remember.
        self._oids = self._nexts = array("Q")
        self._counts = bytearray()

    def after(self, oid: bytes) -> tuple[bytes, int] | None:
        """Return the successor of an object, and how often it was that; None if it has none."""
        if not self._counts:
            return None
        number = _number(oid, "big")
        slot = (number ^ number >> 16) & (_SLOTS - 1)
        if self._oids[slot] != number or not self._counts[slot]:
            return None
        return self._nexts[slot].to_bytes(8, "big"), self._counts[slot]

    def note(self, oid: bytes, next: bytes) -> None:
        """Note that `next` was used after an object."""
        if not self._counts:
            self._oids = array("Q", bytes(8 * _SLOTS))
            self._nexts = array("Q", bytes(8 * _SLOTS))
            self._counts = bytearray(_SLOTS)
        number, successor = _number(oid, "big"), _number(next, "big")
        slot = (number ^ number >> 16) & (_SLOTS - 1)
        count = self._counts[slot]
        if self._oids[slot] == number and self._nexts[slot] == successor:
            self._counts[slot] = min(count + 1, _CERTAIN)
        elif count > 1:
            self._counts[slot] = count - 1
        else:
            self._oids[slot] = number
            self._nexts[slot] = successor
            self._counts[slot] = 1
