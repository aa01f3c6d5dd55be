"""What a process has used so far: processor time and memory. It needs Linux."""

from __future__ import annotations

import re
import time
from pathlib import Path

__all__ = ["cpu_time", "most_memory", "resident_memory"]

#: From <linux/posix-timers.h>: the clock that counts what all threads of a process were given.
_CPUCLOCK_SCHED = 2


def cpu_time(pid: int) -> float:
    """Return the processor time, user and system, of a process and its children, in seconds.

    /proc has it too, but counts in hundredths of a second, which is a thousand cold loads' worth
    of rounding.
    """
    return sum(time.clock_gettime((~member << 3) | _CPUCLOCK_SCHED) for member in _family(pid))


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in _family(int(child)))]


def resident_memory(pid: int) -> int:
    """Return how many bytes of memory a process has at present."""
    return _status(pid, "VmRSS")


def most_memory(pid: int) -> int:
    """Return how many bytes of memory a process and its children have had at most."""
    return sum(_status(member, "VmHWM") for member in _family(pid))


def _status(pid: int, key: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (kilobytes,) = re.findall(rf"^{key}:\s+(\d+) kB$", status, re.MULTILINE)
    return int(kilobytes) * 1024
