"""Tells how far a long operation is: on a terminal all the time, otherwise rarely."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

__all__ = ["Progress", "readable"]

#: How often (seconds) a line on a terminal changes, and how often a line is added to a log.
_ON_TERMINAL = 0.5
_IN_LOG = 60.0


def readable(size: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


class Progress:
    """Shows progress on standard error.

    :param what: is done, such as ``backed up``.
    """

    def __init__(
        self,
        what: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._began = self._shown = clock()
        self._width = 0

    def update(self, size: int, count: int, fraction: float | None) -> None:
        """Show how far it is, if it is time for that.

        :param size: how many bytes were done.
        :param count: how many transactions.
        :param fraction: which part of all was done, from 0 to 1; None if that is not known.
        """
        now = self._clock()
        if now - self._shown < (_ON_TERMINAL if self._is_terminal else _IN_LOG):
            return
        self._shown = now
        took = now - self._began
        line = f"{self._what} {count} transactions, {readable(size)}, {readable(size / took)}/s"
        if fraction:
            share = min(fraction, 1.0)
            line += f", {share:.0%}, {_duration(took / share - took)} left"
        if self._is_terminal:
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Remove the line from the terminal."""
        if self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
