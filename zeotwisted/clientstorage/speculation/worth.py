"""Decides how much an answer may bring that nobody has asked for.

A record that came ahead and is used saves a round trip. One that is not used costs bytes, and time
at both ends. All times are in seconds, all sizes in bytes.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MOST", "Plan", "Worth"]

#: Below this time of a round trip, nothing is asked for ahead.
_NEAR = 150e-6

#: What a record takes at least, at both ends and on the line, and at most; and how much a new
#: measurement counts. Answers with so many records are measured.
_COST = 35e-6
_DEAREST = 1e-3
_NEW = 0.05
_SEVERAL = 8

#: How many records to ask for at first, and at most.
_FIRST = 16
MOST = 200

#: The part of what was useful by which what was not may grow, so that no more than twice the bytes
#: come in the long run; what may come in vain before that; and how much of it can be saved up.
_WASTE = 0.7
_TRIAL = 32 * 1024
_SAVED = 128 * 1024

#: How many times as much as it takes a record has to bring.
_GAIN = 1.25

#: What is rather used than not is always worth its bytes.
_LIKELY = 0.5

#: The part of the time of loads that may be spent in vain, so that nothing takes much longer than
#: without it. It may be saved up for the time of so many round trips, which is also given at first.
#: When it is spent, nothing is asked for until there is enough of it for a trial.
_LOSS = 0.03
_SAVED_TRIPS = 10
_TRIAL_TRIPS = 2

#: If so many answers in a row bring nothing, some of the next loads do not ask for it: so many that
#: asking, which takes so much longer at both ends, makes loads slower by no more than this part.
_BARREN = 64
_AGAIN = 16
_ASKING = 20e-6
_SLOWER = 0.03


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
        # How long a load alone takes on average; how much longer those take that bring several
        # records, and how many these are; and what one of them takes.
        self._alone = 0.0
        self._many = float(_FIRST)
        self._longer = _FIRST * _COST
        self._cost = _COST
        self._records = _FIRST
        self._size = min(_SAVED, cache_size // 16)
        # How many bytes may come in vain.
        self._bank = float(min(_TRIAL, cache_size // 16))
        # For how many round trips' time records may come in vain, and whether that has to be saved.
        self._trips = float(_SAVED_TRIPS)
        self._is_saving = False
        # How many answers have brought nothing, and how many loads do without asking.
        self._barren = 0
        self._rests = 0

    def plan(self) -> Plan | None:
        """Return what to ask for; None to load the record alone."""
        round_trip = self.round_trip
        if not round_trip or round_trip < _NEAR:
            return None
        if self._rests > 0:
            self._rests -= 1
            return None
        records = min(self._records, int(self._trips * round_trip / self._cost))
        if records < 1:
            self._is_saving = True
            self._records = _FIRST
        elif self._trips >= _TRIAL_TRIPS:
            self._is_saving = False
        if self._is_saving:
            return Plan(0, 0, 1000)
        least = min(self._cost * _GAIN / round_trip, 1.0)
        if least < _LIKELY:
            # The fewer bytes may come in vain, the more of them have to be used.
            fill = max(0.0, min(self._bank / _TRIAL, 1.0))
            least = least**fill * _LIKELY ** (1 - fill)
        return Plan(
            records, max(int(min(self._bank / 2, self._size)), 0), max(int(1000 * least), 1)
        )

    def measured(self, seconds: float, records: int = 0) -> None:
        """Note how long a load took, whose answer has brought so many records more.

        Others may have been in its way, so that the shortest ones tell the time of a round trip.
        """
        known = self.round_trip
        self.round_trip = min(seconds, known * 1.02) if known else seconds
        if records < _SEVERAL:
            self._alone += (_NEW if self._alone else 1.0) * (seconds - self._alone)
            return
        # The server may be slow, and the line thin. What else was in the way is in the way of both
        # kinds of answers, so that the means tell it.
        most = records * _DEAREST
        longer = max(-most, min(seconds - self._alone, most))
        self._longer += _NEW * (longer - self._longer)
        self._many += _NEW * (records - self._many)
        self._cost = max(_COST, self._longer / self._many)

    def came(self, records: int, size: int, wanted: int) -> None:
        """Note what an answer has brought.

        :param records: how many that were not asked for.
        :param size: how long they are, packed.
        :param wanted: how long the one is that was asked for.
        """
        self._bank = min(self._bank + _WASTE * wanted, _SAVED) - size
        self._trips = (
            min(self._trips + _LOSS, _SAVED_TRIPS) - records * self._cost / self.round_trip
        )
        if records >= self._records / 2:
            # It may have been too few. They are fewer again when they do not pay.
            self._records = min(2 * self._records, MOST)
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
        self._trips = min(self._trips + 1, _SAVED_TRIPS)
        self._bank = min(self._bank + credit, _SAVED)

    @staticmethod
    def credit(size: int, packed: float) -> float:
        """Return how many bytes more may come in vain when a record is used.

        :param size: how long it is, which is what it would have taken alone.
        :param packed: how many of the packed bytes were its own.
        """
        return packed + _WASTE * size
