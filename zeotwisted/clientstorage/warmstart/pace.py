"""Decides how many records to ask for at a time, and how long to wait after they have come."""

from __future__ import annotations

__all__ = ["Pace"]

#: How many records to ask for at first; how many, and about how many bytes of them, afterwards.
#: A daemon takes about half a millisecond for that many.
_FIRST = 30
_MOST = 50
_BYTES = 16 * 1024

#: Where an answer takes longer than this (seconds), it may be so many times as long: a load that
#: has to wait behind it waits for a smaller part of its own time.
_FAR = 0.001
_MOST_TIMES = 8.0

#: While the application waits for the server, a pause is as long as the answer took, so that half
#: of the time is left. For the first records, which are used most, it is shorter: the application
#: itself gains most by them. It has its full length after so many.
_USED_MOST = 20_000

#: At a server that is nearer than this (seconds), where loads take little time and the processor
#: has much to do, each pause is so many times as long as the answer took.
_NEAR = 0.001
_PAUSES = 3.0

#: The shortest and the longest pause (seconds). To wake the reactor's thread takes about as long as
#: the shortest one.
_SHORTEST = 0.001
_LONGEST = 1.0


class Pace:
    """How fast a client brings records in.

    :ivar records: how many to ask for.
    """

    def __init__(self) -> None:
        self.records = _FIRST
        # How many have come.
        self._count = 0
        # How long the fastest answer took; 0 while there was none.
        self._fastest = 0.0
        # How long a record is on average.
        self._length = _BYTES / _FIRST

    def came(self, records: int, size: int, seconds: float, is_waited_for: bool) -> float:
        """Note an answer; return how long (seconds) to wait before asking again.

        :param records, size: how many it has brought, and their bytes.
        :param seconds: how long it took.
        :param is_waited_for: whether the application waits for the server.
        """
        self._count += records
        self._fastest = min(self._fastest or seconds, seconds)
        if records:
            self._length += 0.5 * (max(size / records, 1.0) - self._length)
        times = max(1.0, min(self._fastest / _FAR, _MOST_TIMES))
        self.records = int(times * max(1.0, min(_BYTES / self._length, _MOST)))
        if self._fastest < _NEAR:
            pause = _PAUSES * seconds
        else:
            pause = seconds * min(self._count / _USED_MOST, 1.0) if is_waited_for else 0.0
        return min(pause, _LONGEST) if pause >= _SHORTEST else 0.0
