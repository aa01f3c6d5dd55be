"""Shows how far a long command is: a line that changes on a terminal, a few lines in a log.

It writes to standard error, so that the output of a command stays what it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from .shown import duration

__all__ = ["Progress"]

#: How often (seconds) the line on a terminal changes, and a log gets a line.
_OFTEN = 0.2
_SELDOM = 60.0


class Progress:
    """The progress of one piece of work; use it in a ``with`` statement.

    :param what: the work, such as ``packing 1``.
    :param unit: what is counted; may be empty if `total` is 1.
    :param total: how much there is to do; None if it is not known.
    :param shown: writes an amount for people.
    """

    def __init__(
        self,
        what: str,
        unit: str,
        total: float | None = None,
        shown: Callable[[float], str] = "{:,.0f}".format,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._unit = unit
        self.total = total
        self._shown = shown
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._begun = clock()
        self._next = self._begun + (0.0 if self._is_terminal else _SELDOM)
        self._width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.clear()

    def update(self, done: float, note: str = "") -> None:
        """Tell how much is done, since the beginning of this object."""
        now = self._clock()
        if now < self._next:
            return
        self._next = now + (_OFTEN if self._is_terminal else _SELDOM)
        line = self._line(done, now - self._begun, note)
        if self._is_terminal:
            self._stream.write(f"\r{line.ljust(self._width)}")
            self._width = len(line)
        else:
            self._stream.write(f"{line}\n")
        self._stream.flush()

    def clear(self) -> None:
        """Remove the line from a terminal, before something else is printed."""
        if self._width:
            self._stream.write(f"\r{' ' * self._width}\r")
            self._stream.flush()
            self._width = 0

    def _line(self, done: float, seconds: float, note: str) -> str:
        rate = done / seconds if seconds > 0 else 0.0
        parts = []
        if self.total:
            parts.append(f"{min(100.0, 100 * done / self.total):.0f} %")
        if self._unit:
            parts.append(f"{self._shown(done)} {self._unit}".rstrip())
            parts.append(f"{self._shown(rate)} {self._unit}/s".replace(" /s", "/s"))
        if self.total and 0 < done < self.total and rate:
            parts.append(f"{duration((self.total - done) / rate)} left")
        if note:
            parts.append(note)
        return f"{self._what}: {', '.join(parts)}"
