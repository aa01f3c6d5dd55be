"""The time up to which a client may have a storage packed."""

from __future__ import annotations

import time as wallclock

from ZODB.POSException import StorageError
from ZODB.TimeStamp import TimeStamp

__all__ = ["pack_time"]


def pack_time(time: float, skew: float, last: bytes) -> float:
    """Return the time up to which to pack. It is not in the future.

    :param time: the pack time of the client, in seconds since 1970.
    :param skew: how many seconds `time` may be in the future.
    :param last: the tid of the last transaction.
    :raises ZODB.POSException.StorageError: `time` is later than that, negative, or NaN.
    """
    # If the clock was set back, the last transaction may be later than the clock.
    now = max(wallclock.time(), TimeStamp(last).timeTime())
    # This form also rejects NaN: every comparison with it is false.
    if not time >= 0:
        raise StorageError(f"pack time {time!r} is not a number of seconds since 1970")
    if time > now + skew:
        raise StorageError(
            f"pack time {_shown(time)} is in the future: it is {_shown(now)} at the server; "
            "pass seconds since 1970, and compare the clocks of the hosts"
        )
    return min(time, now)


def _shown(time: float) -> str:
    try:
        return wallclock.strftime("%Y-%m-%d %H:%M:%S UTC", wallclock.gmtime(time))
    except (OverflowError, OSError, ValueError):
        return f"{time:g}" if type(time) is float else "after all calendars"
