"""The exit code of a daemon.

After a signal, ``twistd`` and ``twist`` end by that signal, and supervisors take that for a
failure. After any other stop they end with 0, whatever has failed meanwhile.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any

from .signals import stop_with_success

__all__ = ["set_exit_code"]


def set_exit_code(
    reactor: Any, hurry: Callable[[], object], has_failed: Callable[[], bool]
) -> None:
    """Have the process end with exit code 0 after SIGTERM or SIGINT, and with 1 after a failure.

    :param hurry: called in the reactor's thread for each signal but the first one.
    :param has_failed: whether something failed; called when everything has stopped.
    """
    stop_with_success(reactor, hurry)

    def stopped() -> None:
        if has_failed():
            atexit.register(_end_with_failure)

    reactor.addSystemEventTrigger("after", "shutdown", stopped)


def _end_with_failure() -> None:
    # Nothing but this sets the exit code at this point. It skips the flush at the end.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(1)
