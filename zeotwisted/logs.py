"""Where the lines of the daemon's log come from, and where they go.

::

    Twisted's log  ------------------------> LogWriter ---> standard output, twistd.log
      |        ^
      |  _Bridge.__call__           _Bridge.emit
      v        |
    logging (ZODB's storages) -------------> LogWriter ---> files, syslog, ... of <eventlog>

Each of the two logs is told what the other is told, and shows a line once. No line can go round:
what came over the bridge does not go back, and nothing that is said while a line crosses it, for
example by a handler that fails, crosses it at all. The writers say nothing but in their own log.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    STDLibLogObserver,
    globalLogPublisher,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

from .logwriter import LogWriter

__all__ = [
    "EventLog",
    "FileLog",
    "show_in_logging",
    "show_in_twisted_log",
    "silence",
    "writes_to_terminal",
]

#: By which name `logging` knows what comes from Twisted's log.
_LOGGER = "zeotwisted.server"

_LEVELS = {
    "DEBUG": LogLevel.debug,
    "INFO": LogLevel.info,
    "WARNING": LogLevel.warn,
    "ERROR": LogLevel.error,
    "CRITICAL": LogLevel.critical,
}


def _lost(count: int, reason: Exception | None) -> str:
    why = "there were too many at a time" if reason is None else f"{reason}"
    return f"{count} lines of this log are lost: {why}"


class FileLog:
    """Twisted's log in a file, or at standard output.

    :param file: a stream, or a file that can be opened anew.
    """

    def __init__(self, file: TextIO | LogFile) -> None:
        self._file = file
        self._writer = LogWriter(self._write, self._report)
        self._writer.close_at_exit()

    @classmethod
    def at(cls, path: str) -> FileLog:
        """Return the log in the file at `path`, which is rotated when it is long, as twistd's is.

        :raises OSError: the file cannot be written.
        """
        return cls(LogFile.fromFullPath(path))

    # What Twisted's own observers need of a file.

    def write(self, text: str) -> None:
        """Have `text` written."""
        self._writer.put(text)

    def flush(self) -> None:
        """There is nothing to do: the thread that writes does it."""

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    def close(self) -> None:
        """Write what there is. What comes later is written at once."""
        self._writer.close()

    def reopen(self) -> bool:
        """Open the file anew; return whether there is one."""
        if isinstance(self._file, LogFile):
            self._writer.call(_quietly(self._file.reopen))
        elif os.path.isfile(path := str(self._file.name)) or self._file.fileno() > 2:
            self._writer.call(_quietly(lambda: _open_anew(self._file, path)))
        else:
            return False
        return True

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def _report(self, count: int, reason: Exception | None) -> str:
        return f"{_lost(count, reason)}\n"


def _open_anew(file: Any, path: str) -> None:
    """Have `file` write to what is at `path` now."""
    file.flush()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.dup2(descriptor, file.fileno())
    finally:
        os.close(descriptor)


def _quietly(function: Callable[[], object]) -> Callable[[], None]:
    def call() -> None:
        # If a file cannot be opened, the next line cannot be written, and is counted.
        with contextlib.suppress(OSError):
            function()

    return call


@implementer(ILogObserver)
def silence(event: LogEvent) -> None:
    """An observer that shows nothing."""


def writes_to_terminal(eventlog: Any) -> bool:
    """Return whether an ``<eventlog>`` section writes to standard output or error."""
    return any(
        getattr(factory.section, "path", None) in ("STDOUT", "STDERR")
        for factory in eventlog.handler_factories
    )


class EventLog(logging.Handler):
    """The handlers of an ``<eventlog>`` section, in a thread.

    :param eventlog: what ZConfig made of the section. Its handlers leave the root logger, and this
        takes their place.
    """

    def __init__(self, eventlog: Any) -> None:
        super().__init__()
        before = list(logging.getLogger().handlers)
        root = eventlog()
        self.setLevel(root.level)
        self._handlers = [handler for handler in root.handlers if handler not in before]
        self._writers = []
        for handler in self._handlers:
            root.removeHandler(handler)
            self._writers.append(_writer_of(handler))
        root.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        # The arguments may be something else by the time when the thread comes to it.
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        for handler, writer in zip(self._handlers, self._writers, strict=True):
            if record.levelno >= handler.level:
                writer.put(record)

    def start(self) -> None:
        """Begin to write."""
        for writer in self._writers:
            writer.start()

    def reopen(self) -> bool:
        """Open all files anew; return whether there are any."""
        found = False
        for handler, writer in zip(self._handlers, self._writers, strict=True):
            reopen = getattr(handler, "reopen", None)
            if reopen is not None:
                found = True
                writer.call(_quietly(reopen))
        return found

    def close(self) -> None:
        """Write what there is. What comes later is written at once."""
        for writer in self._writers:
            writer.close()
        super().close()


def _writer_of(handler: logging.Handler) -> LogWriter:
    failures: list[Exception] = []

    def failed(record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        failures.append(error if isinstance(error, Exception) else OSError("it cannot be written"))

    # The other one prints a traceback to standard error, which is a log, too.
    handler.handleError = failed  # type: ignore[method-assign]

    def write(record: logging.LogRecord) -> None:
        handler.handle(record)
        if failures:
            error = failures[-1]
            failures.clear()
            raise error

    def report(count: int, reason: Exception | None) -> logging.LogRecord:
        return logging.LogRecord(
            _LOGGER, logging.ERROR, __file__, 0, _lost(count, reason), None, None
        )

    writer = LogWriter(write, report)
    writer.close_at_exit()
    return writer


@implementer(ILogObserver)
class _Bridge(logging.Handler):
    """Tells each of the two logs what the other one is told."""

    _log = Logger(namespace="ZODB")

    def __init__(self) -> None:
        super().__init__()
        self._crossing = threading.local()
        self._to_logging = STDLibLogObserver(_LOGGER)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Yield whether this thread is not on the bridge already."""
        if getattr(self._crossing, "busy", False):
            yield False
            return
        self._crossing.busy = True
        try:
            yield True
        finally:
            self._crossing.busy = False

    def emit(self, record: logging.LogRecord) -> None:
        """Tell Twisted's log what `logging` is told; see `logging.Handler.emit`."""
        with self._alone() as alone:
            if alone:
                level = _LEVELS.get(record.levelname, LogLevel.info)
                text = self.format(record)
                self._log.emit(level, "{logger}: {text}", logger=record.name, text=text)

    def __call__(self, event: LogEvent) -> None:
        """Tell `logging` what Twisted's log is told; see `twisted.logger.ILogObserver`."""
        with self._alone() as alone:
            if alone:
                self._to_logging(event)


#: One for all servers of a process, so that a line crosses once.
_bridge = _Bridge()


def show_in_twisted_log() -> Callable[[], None]:
    """Have Twisted's log show what is logged with `logging`; return how to end that."""
    root = logging.getLogger()
    root.addHandler(_bridge)
    if root.level > logging.INFO:
        root.setLevel(logging.INFO)
    return lambda: root.removeHandler(_bridge)


def show_in_logging() -> None:
    """Have `logging` show what Twisted's log is told."""
    globalLogPublisher.addObserver(_bridge)
