"""The terminal of a command that goes to the background, until its start has succeeded or failed.

twistd's background process has no terminal, and hands on only the beginning of an error.
"""

from __future__ import annotations

import contextlib
import os

__all__ = ["Terminal"]


class Terminal:
    """What was the standard error of the command; it stays open until `close`."""

    def __init__(self) -> None:
        self._fd = None
        with contextlib.suppress(OSError):
            # Not inherited by the programs that are run.
            self._fd = os.dup(2)

    _fd: int | None

    def say(self, line: str) -> None:
        """Write a line, if the terminal can still be written to."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._fd, f"{line}\n".encode(errors="backslashreplace"))

    def close(self) -> None:
        """Close it: the shell, or a program that reads the output, may wait for its end."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
