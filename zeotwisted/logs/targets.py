"""The targets of a log: files, streams, handlers of `logging`.

The thread that writes the log calls all methods. `abandon` may be called in any thread.

Files and streams are written with the system's own calls, not with Python's file objects. A file
object keeps data that it could not write, and writes it later, when the line has been counted as
lost. A thread that waits in a file object also keeps the process from ending.
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

#: How many bytes can be written to a pipe that is ready, without waiting.
_AT_ONCE = getattr(select, "PIPE_BUF", 512)

#: How often (milliseconds) a thread that waits for a reader checks whether to give up.
_LOOK = 200


class Target(Protocol):
    """Writes the lines of one log.

    :ivar has_file: whether the target has a file that `reopen` can reopen.
    """

    has_file: bool

    def write(self, item: Any) -> None:
        """Write a line, or raise any exception."""

    def reopen(self) -> None:
        """Reopen the file by its name: a log rotation has renamed the open one."""

    def abandon(self) -> None:
        """Have a write that waits for a reader fail, now and later; may be called in any thread."""

    def close(self) -> None:
        """Close what this target has opened."""


class _Descriptor:
    """Writes to a file descriptor, and waits while a pipe is full."""

    def __init__(self) -> None:
        self._abandoned = threading.Event()
        self._torn = False

    def abandon(self) -> None:
        self._abandoned.set()

    def write(self, number: int, text: str) -> None:
        # If only the beginning of the last line was written, end that line first.
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

    :param path: the file's path. It is opened at once, so that a wrong path fails at the start.
    :raises OSError: the file cannot be opened. A named pipe or a device may fail now: `write` opens
        it again.
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
            # Its folder may be replaced before the next line, so the next line reopens the file.
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
    """Return whether the path is that of a named pipe or a device."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


class StreamTarget:
    """Writes to a descriptor that it does not own, such as that of stdout."""

    has_file = False

    def __init__(self, number: int) -> None:
        self._number = number
        self._descriptor = _Descriptor()

    def write(self, item: str) -> None:
        self._descriptor.write(self._number, item)

    def reopen(self) -> None:
        """Do nothing: a descriptor has no name."""

    def abandon(self) -> None:
        self._descriptor.abandon()

    def close(self) -> None:
        """Do nothing: the descriptor belongs to other code."""


class TextTarget:
    """Writes to a file object without a descriptor, such as stdout in a notebook."""

    has_file = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, item: str) -> None:
        self._stream.write(item)
        self._stream.flush()

    def reopen(self) -> None:
        """Do nothing: the object has no name."""

    def abandon(self) -> None:
        """Do nothing: a write that waits cannot be interrupted."""

    def close(self) -> None:
        """Do nothing: the object belongs to other code."""


def stream_target(stream: Any) -> StreamTarget | TextTarget:
    """Return a target for stdout or stderr, or for an object that replaces one of them."""
    try:
        return StreamTarget(stream.fileno())
    except (OSError, ValueError):
        return TextTarget(stream)


class LogFileTarget:
    """Writes to a file that Twisted's `LogFile` rotates at a certain size, as for twistd's log.

    :raises OSError: the file cannot be opened.
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
            # After a failed rotation the LogFile is unusable. The next line opens a new one.
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
            # A failed rotation may have closed it already.
            with suppress(OSError, AttributeError):
                file.close()


class HandlerTarget:
    """Writes with a handler of `logging`. No other code may use the handler."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler
        self.has_file = hasattr(handler, "reopen")
        self._error: BaseException | None = None
        # A handler calls this method instead of raising. The standard method prints to stderr,
        # which is twistd's log.
        handler.handleError = self._note_error  # type: ignore[method-assign]

    def _note_error(self, record: logging.LogRecord) -> None:
        self._error = sys.exc_info()[1]

    def write(self, item: logging.LogRecord) -> None:
        self._error = None
        # `emit` does not hold the handler's lock. logging.shutdown needs this lock: a write that
        # waits would keep the process from ending.
        self._handler.emit(item)
        if self._error is not None:
            if isinstance(self._handler, logging.FileHandler):
                # Discard the data that the file object keeps: its line is counted as lost. The
                # handler opens the file again for the next line.
                with suppress(Exception):
                    self._handler.close()
            raise self._error

    def reopen(self) -> None:
        if self.has_file:
            self._handler.reopen()  # type: ignore[attr-defined]

    def abandon(self) -> None:
        """Do nothing: a write that waits cannot be interrupted."""

    def close(self) -> None:
        with suppress(Exception):
            self._handler.close()


class FormattingTarget:
    """Formats records of `logging`, and writes the text to another target.

    :param formatter: formats the records. It runs in the thread that writes the log, because an
        application's formatter may be slow, or raise.
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
    """Return a target for a path: a file that is rotated, a named pipe, or a device.

    :raises OSError: the file cannot be opened.
    """
    # A LogFile seeks in its file. A pipe or a device cannot do that.
    return FileTarget(path) if _is_special(path) else LogFileTarget(path)
