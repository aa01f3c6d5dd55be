"""Standard output that says in one line why it cannot be written.

A full disk or a closed pipe may be noticed at any ``print``, also among calls of a server, whose
own errors look the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import IO, Any

from .errors import CommandError

__all__ = ["OutputClosed", "checked_output"]


class OutputClosed(Exception):
    """Whoever reads the output wants no more."""


class _Output:
    """Passes everything on to a stream.

    :raises OutputClosed: the other end of the pipe is closed.
    :raises CommandError: it cannot be written for another reason.
    """

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    @property
    def buffer(self) -> Any:
        """The stream of bytes below, for which errors are those of the system."""
        return self._stream.buffer  # type: ignore[attr-defined]

    def write(self, text: str) -> int:
        """Write a text."""
        with _explained():
            return self._stream.write(text)

    def flush(self) -> None:
        """Write what is kept."""
        with _explained():
            self._stream.flush()

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._stream.fileno()

    def end(self) -> None:
        """Write what is left; if it cannot be written, Python does not try again at the exit."""
        try:
            self._stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextmanager
def checked_output() -> Iterator[None]:
    """Replace standard output by one that explains its errors.

    :raises OutputClosed: the other end of the pipe is closed.
    :raises CommandError: it cannot be written for another reason.
    """
    output = _Output(sys.stdout)
    to: Any = output
    try:
        with redirect_stdout(to):
            yield
            output.flush()
    finally:
        output.end()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise OutputClosed from None
    except OSError as error:
        raise CommandError(
            f"standard output cannot be written: {error.strerror or error}; make room, or send it "
            "elsewhere"
        ) from None
