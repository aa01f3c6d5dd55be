"""A private reactor in a thread or a greenlet, and the signal handlers of the daemon.

Rule: only `zeotwisted.tap` imports the installed reactor; all other code gets a reactor as an
argument.
"""

from __future__ import annotations

from . import greenlets
from .access import ReactorAccess
from .exitcode import set_exit_code
from .periodic import Periodic
from .signals import handle_signals
from .thread import OwnReactor, ReactorThread, call_after_fork, release, shared

__all__ = [
    "OwnReactor",
    "Periodic",
    "ReactorAccess",
    "ReactorThread",
    "call_after_fork",
    "greenlets",
    "handle_signals",
    "release",
    "set_exit_code",
    "shared",
]
