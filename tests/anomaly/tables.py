"""Which operations there are, and what is tried with them."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator

from . import backups, blobs, caches, certificates, commits, logfiles, spools, wholefiles
from .loops import Operation
from .steps import BROKEN, FULL, GONE, KILLED, KILLED_IN_A_WRITE, SHORT, TORN, Fault

__all__ = ["ALL_FAULTS", "ALL_KILLS", "FAULTS", "KILLS", "OPERATIONS"]

_ROOMS = (commits, spools, caches, blobs, wholefiles, certificates, logfiles, backups)

OPERATIONS: list[type[Operation]] = [
    getattr(room, name) for room in _ROOMS for name in room.__all__
]

#: What is tried in each run of the tests.
FAULTS = (BROKEN, GONE, TORN, SHORT, FULL)
KILLS = (KILLED, KILLED_IN_A_WRITE)

#: How much of a write is done before its error, in percent.
_PARTS = (0, 1, 50, 99)
_ERRORS = (errno.EIO, errno.ENOSPC)


def _all_faults() -> Iterator[Fault]:
    for fault, error, part, stays in itertools.product(
        (BROKEN, TORN, FULL), _ERRORS, _PARTS, (False, True)
    ):
        if fault is BROKEN and part:
            continue
        name = f"{fault.name}, {errno.errorcode[error]}, {part} %{' for good' * stays}"
        yield fault._replace(name=name, error=error, part=part, stays=stays)


#: What is tried in a long run.
ALL_FAULTS = (*FAULTS, *_all_faults())
ALL_KILLS = (
    KILLED,
    *(KILLED_IN_A_WRITE._replace(name=f"killed after {part} %", part=part) for part in _PARTS[1:]),
)
