"""Decides how much an answer may bring that nobody has asked for.

A record that came ahead and is used saves a round trip. One that is not used costs bytes, and time
at both ends. All times are in seconds, all sizes in bytes.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Plan", "Worth"]

#: Below this time of a round trip, nothing is asked for ahead.
_NEAR = 150e-6

#: What a record takes at both ends together. It was measured; see ``docs/performance.rst``.
_COST = 35e-6

#: How many records to ask for at first, and at most.
_FIRST = 16
_MOST = 200

#: The part of what was useful by which what was not may grow, so that no more than twice the bytes
#: come in the long run; what may come in vain before that; and how much of it can be saved up.
_WASTE = 0.7
_TRIAL = 32 * 1024
_SAVED = 128 * 1024

#: How many times as much as it takes a record has to bring.
_GAIN = 1.25

#: What is rather used than not is always worth its bytes.
_LIKELY = 0.5

#: How many loads to wait, after asking for more did not pay, at first and at most.
_WAIT = 32
_LONGEST_WAIT = 512

#: If so many answers in a row bring nothing, some of the next loads do not ask for it: so many that
#: asking, which takes so much longer at both ends, makes loads slower by no more than this part.
_BARREN = 64
_AGAIN = 16
_ASKING = 20e-6
_SLOWER = 0.03

#: How much of what was gained and spent still counts at the next answer.
_MEMORY = 0.9


class Plan(NamedTuple):
    """How much an answer may bring.

    :ivar records: how many records.
    :ivar size: how many bytes.
    :ivar least: how probable their use has to be, in thousandths.
    """

    records: int
    size: int
    least: int


class Worth:
    """What asking for records ahead costs and brings, for one client.

    Threads use it without a lock: it estimates, and does not count.

    :param cache_size: how much room the client's cache has.
    """

    def __init__(self, cache_size: int) -> None:
        #: The time of a round trip; 0 while it is not known.
        self.round_trip = 0.0
        self._records = float(_FIRST)
        self._size = min(_SAVED, cache_size // 16)
        # How many bytes may come in vain.
        self._bank = float(min(_TRIAL, cache_size // 16))
        self._gained = 0.0
        self._spent = 0.0
        # Whether the last answer has brought as much as it might.
        self._full = False
        # How many loads go by without records ahead, and how many go by next time.
        self._waits = 0
        self._wait = _WAIT
        # How many answers have brought nothing, and how many loads do without asking.
        self._barren = 0
        self._rests = 0

    def plan(self) -> Plan | None:
        """Return what to ask for; None to load the record alone."""
        if not self.round_trip or self.round_trip < _NEAR:
            return None
        if self._rests > 0:
            self._rests -= 1
            return None
        self._adapt()
        if self._waits:
            self._waits -= 1
            return Plan(0, 0, 1000)
        size = int(min(self._bank / 2, self._size))
        fill = max(0.0, min(self._bank / _TRIAL, 1.0))
        least = min(_COST * _GAIN / self.round_trip, 1.0)
        if least < _LIKELY:
            # The fewer bytes may come in vain, the more of them have to be used.
            least **= fill
            least *= _LIKELY ** (1 - fill)
        return Plan(int(self._records), max(size, 0), int(1000 * least))

    def _adapt(self) -> None:
        if self._spent and self._gained < self._spent:
            self._records /= 2
            if self._records < 1:
                self._records = 4.0
                self._waits = self._wait
                self._wait = min(2 * self._wait, _LONGEST_WAIT)
                self._gained = self._spent = 0.0
        elif self._full and self._gained >= 2 * self._spent:
            self._records = min(2 * self._records, _MOST)
            self._wait = _WAIT
        self._full = False

    def measured(self, seconds: float) -> None:
        """Note how long a load took. Others may have been in its way, so that short ones count."""
        known = self.round_trip
        self.round_trip = min(seconds, known * 1.02) if known else seconds

    def came(self, records: int, size: int, wanted: int) -> None:
        """Note what an answer has brought.

        :param records: how many that were not asked for.
        :param size: how long they are, packed.
        :param wanted: how long the one is that was asked for.
        """
        self._gained *= _MEMORY
        self._spent = self._spent * _MEMORY + records * _COST
        self._bank = min(self._bank + _WASTE * wanted, _SAVED) - size
        self._full = records >= 0.5 * self._records or size >= 0.5 * min(self._bank, self._size)
        if records:
            self._barren = 0
            return
        self._barren += 1
        if self._barren > _BARREN:
            # Try again for a while after that.
            self._barren = _BARREN - _AGAIN
            self._rests = int(_AGAIN * (_ASKING / (_SLOWER * self.round_trip) - 1))

    def used(self, credit: float) -> None:
        """Note that a record is used that has come ahead.

        :param credit: see `credit`.
        """
        self._gained += self.round_trip
        self._bank = min(self._bank + credit, _SAVED)

    @staticmethod
    def credit(size: int, packed: float) -> float:
        """Return how many bytes more may come in vain when a record is used.

        :param size: how long it is, which is what it would have taken alone.
        :param packed: how many of the packed bytes were its own.
        """
        return packed + _WASTE * size
