"""A reactor of our own in a thread or a greenlet, and the signals that the main thread handles.

Rule: only `zeotwisted.tap` imports the installed reactor; everything else is given one.
"""

from __future__ import annotations

from . import greenlets
from .signals import handle_signals
from .thread import OwnReactor, ReactorThread, call_after_fork, release, shared

__all__ = [
    "OwnReactor",
    "ReactorThread",
    "call_after_fork",
    "greenlets",
    "handle_signals",
    "release",
    "shared",
]
