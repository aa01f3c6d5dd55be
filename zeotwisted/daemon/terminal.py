"""Keeps the terminal of a background command open until its start has succeeded or failed.

twistd's background process has no terminal. It passes only the first 100 bytes of an error to the
process that has one.
"""

from __future__ import annotations

import contextlib
import os

__all__ = ["Terminal"]


class Terminal:
    """A duplicate of the command's standard error; it stays open until `close`."""

    def __init__(self) -> None:
        self._fd = None
        with contextlib.suppress(OSError):
            # Programs that this process runs do not inherit the duplicate.
            self._fd = os.dup(2)

    _fd: int | None

    def say(self, line: str) -> None:
        """Write a line, if the terminal can still be written to."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._fd, f"{line}\n".encode(errors="backslashreplace"))

    def close(self) -> None:
        """Close the terminal. A program that reads the command's output may wait for its end."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
