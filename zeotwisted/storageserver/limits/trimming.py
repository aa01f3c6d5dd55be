"""Gives memory back to the system after clients have held much of it.

Without that, the C library keeps most of it for later: the process stays as large as an attacker
has made it.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Trimmer", "resident", "trim"]

_PAGE = mmap.PAGESIZE

#: If the process has grown by this many bytes, memory is given back when a client has gone.
_MUCH = 8 * 2**20

#: How long (seconds) after that. More clients may go, and the reactor frees their buffers first.
_PAUSE = 1.0

#: How long (seconds) to wait after an attempt that gave back little, because the memory is in use.
#: The pause doubles with each such attempt, up to the longest one.
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0


def _find_trim() -> Callable[[int], object]:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        # Only glibc has it. Other systems do this without help.
        return lambda size: None


_malloc_trim = _find_trim()


def trim() -> None:
    """Give free memory back to the system; this takes some milliseconds at most."""
    _malloc_trim(0)


def resident() -> int:
    """Return how much memory (bytes) the process has; 0 if the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0


class Trimmer:
    """Decides when to give memory back. Use it in the reactor's thread.

    :param resident: returns how much memory the process has, in bytes.
    :param trim: gives memory back.
    """

    def __init__(
        self,
        clock: IReactorTime,
        resident: Callable[[], int] = resident,
        trim: Callable[[], object] = trim,
    ) -> None:
        self._clock = clock
        self._resident = resident
        self._trim = trim
        # The least memory that the process has had, and how long to wait after the last attempt.
        self._least = resident()
        self._pause = _FIRST_PAUSE
        self._not_before = 0.0
        self._timer: IDelayedCall | None = None

    def client_left(self) -> None:
        """Give memory back soon, if the process is much larger than it was."""
        if self._timer is None and self._resident() - self._least >= _MUCH:
            wait = self._not_before - self._clock.seconds()
            self._timer = self._clock.callLater(max(_PAUSE, wait), self._now)

    def _now(self) -> None:
        self._timer = None
        before = self._resident()
        self._trim()
        after = self._resident()
        self._least = min(self._least, after)
        if before - after >= _MUCH // 2:
            self._pause = _FIRST_PAUSE
            return
        self._not_before = self._clock.seconds() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def close(self) -> None:
        """Cancel the timer."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
