"""Durations, times, packs and tables for people."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ZODB.TimeStamp import TimeStamp

__all__ = ["duration", "pack_phase", "printable", "table", "time_of", "when"]


def duration(seconds: float) -> str:
    """Return a time for people, such as ``0.25 s``, ``4:05`` or ``2:03:04``."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def when(seconds: float) -> str:
    """Return a time since the epoch as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def time_of(tid: bytes) -> float:
    """Return the time of a transaction, in seconds since the epoch."""
    return float(TimeStamp(tid).timeTime())


def pack_phase(state: dict[str, Any], seconds: float = 0.0) -> str:
    """Return how far a pack is.

    :param state: the answer to ``pack_progress``.
    :param seconds: for how long it has copied; 0 if that is not known.
    """
    done, searched = state["done"], state["searched"]
    if done is None:
        looked = "" if searched is None else f", {100 * searched:.0f} % read"
        return f"looking for garbage{looked}"
    if done == 1:
        return "everything is copied; puts it in place, and removes blobs"
    left = seconds * (1 - done) / done if seconds and done else state.get("left")
    return f"copying, {100 * done:.0f} %" + ("" if left is None else f", {duration(left)} left")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as text; numbers are at the right of their columns."""
    texts = [list(head), *([printable(each) for each in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    right = [
        bool(rows) and all(isinstance(row[at], int) for row in rows) for at in range(len(head))
    ]
    return "\n".join(
        "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in texts
    )


def printable(value: object) -> str:
    """Return a text without what could move a terminal's cursor, as a name of a client's may."""
    return "".join(char if char.isprintable() else "?" for char in str(value))
