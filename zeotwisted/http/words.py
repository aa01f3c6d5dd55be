"""Numbers as texts for people."""

from __future__ import annotations

import time

__all__ = ["NOTHING", "amount", "clock", "count", "duration", "short"]

#: What stands where there is nothing.
NOTHING = "\N{EN DASH}"

_UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


def amount(size: float) -> str:
    """Return a number of bytes, as in ``1.5 MB``."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.0f} {_UNITS[unit]}" if size >= 100 or not unit else f"{size:.3g} {_UNITS[unit]}"


def count(number: float) -> str:
    """Return a number with commas."""
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Return a length of time, as in ``3 min``."""
    for unit, name in ((_DAY, "days"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def short(seconds: float) -> str:
    """Return a short length of time, as in ``2.5 ms``."""
    if seconds >= 1:
        return f"{seconds:.3g} s"
    if seconds >= 0.001:
        return f"{seconds * 1000:.3g} ms"
    return f"{seconds * 1e6:.0f} µs"


def clock(seconds: float) -> str:
    """Return a time since the epoch as date and time in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
