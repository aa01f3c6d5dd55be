"""What a log is written to. All methods but `abandon` are called in the thread that writes it.

Files and streams are written with the system's own calls. Python's files keep what they could not
write and write it later, when it has been counted as lost; and a thread that waits in one of them
keeps the process from ending.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
from contextlib import suppress
from typing import Any, Protocol

from twisted.python.logfile import LogFile

__all__ = [
    "FileTarget",
    "FormattingTarget",
    "HandlerTarget",
    "LogFileTarget",
    "StreamTarget",
    "Target",
    "TextTarget",
    "file_target",
    "stream_target",
]

#: A pipe that is ready takes that much (bytes) without waiting.
_AT_ONCE = getattr(select, "PIPE_BUF", 512)

#: How often (milliseconds) to look whether it is in vain to wait for a reader.
_LOOK = 200


class Target(Protocol):
    """Takes the lines of one log.

    :ivar has_file: whether there is a file to open anew.
    """

    has_file: bool

    def write(self, item: Any) -> None:
        """Write, or raise any exception."""

    def reopen(self) -> None:
        """Open a file anew, since it has been renamed."""

    def abandon(self) -> None:
        """Have a write that waits fail; called in any thread."""

    def close(self) -> None:
        """Close what this target has opened."""


class _Descriptor:
    """Writes to a file descriptor, and waits while a pipe has no reader."""

    def __init__(self) -> None:
        self._abandoned = threading.Event()
        self._torn = False

    def abandon(self) -> None:
        self._abandoned.set()

    def write(self, number: int, text: str) -> None:
        # A line of which only the beginning was written is ended first.
        data = ("\n" + text if self._torn else text).encode("utf-8", "backslashreplace")
        ready = select.poll()
        ready.register(number, select.POLLOUT)
        rest = memoryview(data)
        try:
            while rest:
                if ready.poll(_LOOK):
                    with suppress(BlockingIOError):
                        rest = rest[os.write(number, rest[:_AT_ONCE]) :]
                elif self._abandoned.is_set():
                    raise TimeoutError("no process reads it")
            self._torn = False
        except Exception:
            self._torn = self._torn or len(rest) < len(data)
            raise


class FileTarget:
    """Appends to a file, or writes to a device or a named pipe.

    :param path: the file's path. It is opened at once, so that a mistake is found at the start.
    :raises OSError: it cannot be opened. A named pipe that nobody reads yet is no mistake.
    """

    has_file = True

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._descriptor = _Descriptor()
        self._number: int | None = None
        try:
            self._number = self._open()
        except OSError:
            if not _is_special(self._path):
                raise

    def write(self, item: str) -> None:
        try:
            if self._number is None:
                self._number = self._open()
            self._descriptor.write(self._number, item)
        except Exception:
            # The folder may be replaced before the next line, so open the file again then.
            self.close()
            raise

    def _open(self) -> int:
        # Without O_NONBLOCK, the start would block until another process reads a named pipe.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        return os.open(self._path, flags, 0o666)

    def reopen(self) -> None:
        self.close()
        self._number = self._open()

    def abandon(self) -> None:
        self._descriptor.abandon()

    def close(self) -> None:
        if self._number is not None:
            number, self._number = self._number, None
            with suppress(OSError):
                os.close(number)


def _is_special(path: str) -> bool:
    """Return whether there is a named pipe or a device."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


class StreamTarget:
    """Writes to a descriptor that others have opened, such as that of stdout."""

    has_file = False

    def __init__(self, number: int) -> None:
        self._number = number
        self._descriptor = _Descriptor()

    def write(self, item: str) -> None:
        self._descriptor.write(self._number, item)

    def reopen(self) -> None:
        """It has no name by which to open it."""

    def abandon(self) -> None:
        self._descriptor.abandon()

    def close(self) -> None:
        """It is not ours to close."""


class TextTarget:
    """Writes to an object that is a text file in name only, as notebooks have it for stdout."""

    has_file = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, item: str) -> None:
        self._stream.write(item)
        self._stream.flush()

    def reopen(self) -> None:
        """It has no name by which to open it."""

    def abandon(self) -> None:
        """There is no way."""

    def close(self) -> None:
        """It is not ours to close."""


def stream_target(stream: Any) -> StreamTarget | TextTarget:
    """Return a target for stdout or stderr, or whatever has been put into their place."""
    try:
        return StreamTarget(stream.fileno())
    except (OSError, ValueError):
        return TextTarget(stream)


class LogFileTarget:
    """Writes to a file as twistd has it, which is renamed when it has a certain size.

    :raises OSError: it cannot be opened.
    """

    has_file = True

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        self._file: LogFile | None = LogFile.fromFullPath(self._path)

    def write(self, item: str) -> None:
        try:
            if self._file is None:
                self._file = LogFile.fromFullPath(self._path)
            self._file.write(item)
        except Exception:
            # After a failed rotation the file cannot be used any more.
            self.close()
            raise

    def reopen(self) -> None:
        self.close()
        self._file = LogFile.fromFullPath(self._path)

    def abandon(self) -> None:
        """Do nothing: a file on a disk never waits for a reader."""

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            # It may be closed already.
            with suppress(OSError, AttributeError):
                file.close()


class HandlerTarget:
    """Has a handler of `logging` write. Nothing else may use the handler."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler
        self.has_file = hasattr(handler, "reopen")
        self._error: BaseException | None = None
        # A handler does not raise; it has this method to tell about an error, and the standard one
        # prints to stderr, which is twistd's log.
        handler.handleError = self._note_error  # type: ignore[method-assign]

    def _note_error(self, record: logging.LogRecord) -> None:
        self._error = sys.exc_info()[1]

    def write(self, item: logging.LogRecord) -> None:
        self._error = None
        # Without the handler's lock, which the end of the process would wait for.
        self._handler.emit(item)
        if self._error is not None:
            if isinstance(self._handler, logging.FileHandler):
                # What it has kept is counted as lost. It opens the file for the next line.
                with suppress(Exception):
                    self._handler.close()
            raise self._error

    def reopen(self) -> None:
        if self.has_file:
            self._handler.reopen()  # type: ignore[attr-defined]

    def abandon(self) -> None:
        """There is no way."""

    def close(self) -> None:
        with suppress(Exception):
            self._handler.close()


class FormattingTarget:
    """Has records of `logging` formatted, and written to another target as text.

    :param formatter: formats them in the thread that writes, as it may do anything.
    """

    def __init__(self, formatter: logging.Formatter, target: Target) -> None:
        self._formatter = formatter
        self._target = target
        self.has_file = target.has_file
        self.reopen = target.reopen
        self.abandon = target.abandon
        self.close = target.close

    def write(self, item: logging.LogRecord) -> None:
        self._target.write(self._formatter.format(item) + "\n")


def file_target(path: str) -> FileTarget | LogFileTarget:
    """Return a target as twistd has it for a path, which may be a named pipe or a device.

    :raises OSError: it cannot be opened.
    """
    # Twisted's LogFile has to seek.
    return FileTarget(path) if _is_special(path) else LogFileTarget(path)
