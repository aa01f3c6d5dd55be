"""The exit code of a daemon that could not stop as it should.

``twistd`` and ``twist`` end with 0 after the reactor has stopped, whatever has failed meanwhile.
"""

from __future__ import annotations

import atexit
import os
import sys

__all__ = ["end_with_failure"]


def end_with_failure() -> None:
    """Have the process end with exit code 1, when all else is done."""
    atexit.register(_end)


def _end() -> None:
    # Nothing but this sets the exit code at this point. It skips the flush at the end.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1)
