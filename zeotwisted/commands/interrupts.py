"""Lets Ctrl+C wait until a command can end in good order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

__all__ = ["interruptible"]


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Take note of the first Ctrl+C; raise `KeyboardInterrupt` at the second one.

    An exception in the midst of a call or of a transaction would end the connection, or close the
    storage.

    :return: a function that returns whether there was one.
    """
    pressed = Event()

    def press(*_: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
