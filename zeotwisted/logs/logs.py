"""The sources of the lines of the daemon's log, and the logs that they go to.

::

    ZODB's storages, other libraries           Twisted, zeotwisted.server
          |  logging                                 |  twisted.logger
          v                                          v
    +-- _FromLogging (on the root logger)      Twisted's publisher --+
    |     |                                          ^      |        |
    |     +------------------------------------------+      |        |
    |                                                       v        |
    |                             FileLog: standard output, twistd.log
    |                                                                |
    +-----------> EventLog: files, syslog, ... of <eventlog> <-------+
            (it ignores events that the publisher got from `logging`)

Lines go down only. No line goes from Twisted's log to `logging`: the handlers of an <eventlog>
are not added to a logger. A FileLog and an EventLog put lines into the queues of `writer`. Its
threads write them to `targets`.

A log must not log its own failures: that would be an endless loop. twistd makes a line of its log
from all that is printed, and a failed log handler prints. So whatever a thread prints or logs while
it writes a log is ignored.

An application may have an observer that copies Twisted's log to `logging`. The records of this
observer are ignored, and so are records that are logged while a record is passed on.
"""

from __future__ import annotations

import copy
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

from twisted.logger import (
    ILogObserver,
    LogEvent,
    LogLevel,
    formatEvent,
    globalLogPublisher,
)
from ZConfig.components.logger.handlers import FileHandlerFactory
from zope.interface import implementer

from .targets import FileTarget, FormattingTarget, HandlerTarget, Target, file_target, stream_target
from .writer import LogWriter, is_writing

__all__ = [
    "EventLog",
    "FileLog",
    "show_in_twisted_log",
    "silence",
    "writes_to_terminal",
]

#: The logger name of records that come from Twisted's log.
_LOGGER = "zeotwisted.server"

#: The key of an event for the `logging` record that it was made from.
_RECORD = "zeotwisted_record"

_LEVELS = (
    (logging.CRITICAL, LogLevel.critical),
    (logging.ERROR, LogLevel.error),
    (logging.WARNING, LogLevel.warn),
    (logging.INFO, LogLevel.info),
    (logging.DEBUG, LogLevel.debug),
)
_NUMBERS = {level: number for number, level in _LEVELS}

#: The paths of standard output and error: ZConfig's names, and the system's.
_TERMINAL = ("STDOUT", "STDERR", "/dev/stdout", "/dev/stderr")


def _lost(count: int, reason: Exception | None) -> str:
    lines = "1 line of this log is lost" if count == 1 else f"{count} lines of this log are lost"
    why = "there were too many at a time" if reason is None else f"{reason}"
    return f"{lines}: {why}"


def _writer(target: Target, report: Callable[[int, Exception | None], Any]) -> LogWriter:
    writer = LogWriter(target.write, report)
    writer.close_at_exit()
    return writer


def _reopened(target: Target, writer: LogWriter) -> bool:
    """Have the writer's thread reopen a target's file; return whether the target has one."""

    def reopen() -> None:
        try:
            target.reopen()
        except Exception:
            # The next line opens the file. If that fails, the line is counted as lost.
            target.close()

    if target.has_file:
        writer.call(reopen)
    return target.has_file


def _closed(target: Target, writer: LogWriter) -> None:
    writer.close()
    # From now on the calling thread writes. It must not wait for a reader.
    target.abandon()


class FileLog:
    """Twisted's log in a file, or at standard output. A thread writes it.

    Observers of Twisted use it as a file.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._writer = _writer(target, lambda count, reason: f"{_lost(count, reason)}\n")

    @classmethod
    def at(cls, path: str) -> FileLog:
        """Return the log in the file at `path`. It is rotated at the same size as twistd's log.

        :raises OSError: the file cannot be opened.
        """
        return cls(file_target(path))

    @classmethod
    def of(cls, file: Any) -> FileLog:
        """Return the log that writes to stdout or stderr, or to the file of an open file object."""
        if file in (sys.stdout, sys.stderr):
            return cls(stream_target(file))
        return cls(FileTarget(file.name))

    # The methods that Twisted's observers call.

    def write(self, text: str) -> None:
        """Queue `text`; the log's thread writes it. Ignore it if this thread is writing a log."""
        if not is_writing():
            self._writer.put(text, len(text))

    def flush(self) -> None:
        """Do nothing: the log's thread writes each line at once."""

    def start(self) -> None:
        """Start the thread that writes. Lines wait until then."""
        self._writer.start()

    def close(self) -> None:
        """Write the lines that wait, and end the thread. The caller writes later lines itself."""
        _closed(self._target, self._writer)

    def release(self) -> None:
        """Close the log and its file, if the process continues without the log."""
        self.close()
        self._target.close()

    def reopen(self) -> bool:
        """Have the file reopened; return whether there is one."""
        return _reopened(self._target, self._writer)


@implementer(ILogObserver)
def silence(event: LogEvent) -> None:
    """An observer that ignores all events."""


def writes_to_terminal(eventlog: Any) -> bool:
    """Return whether an ``<eventlog>`` section writes to standard output or error."""
    return any(
        getattr(factory.section, "path", None) in _TERMINAL
        for factory in eventlog.handler_factories
    )


@implementer(ILogObserver)
class EventLog:
    """The log that an ``<eventlog>`` section describes. Each of its handlers has its own thread.

    It gets the events of Twisted's log and the records of `logging` from its creation on.

    :param eventlog: the object that ZConfig makes from the section.
    :raises OSError: one of its files cannot be opened.
    """

    def __init__(self, eventlog: Any) -> None:
        self._parts: list[tuple[int, Target, LogWriter]] = []
        for factory in eventlog.handler_factories:
            target = _target(factory)
            level = max(eventlog.level, factory.section.level)
            self._parts.append((level, target, _writer(target, _lost_record)))
        self._handler = _FromLogging(self._write)
        root = logging.getLogger()
        self._level_before = root.level
        root.setLevel(min(root.level, eventlog.level))
        root.addHandler(self._handler)
        globalLogPublisher.addObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """See `twisted.logger.ILogObserver`."""
        if _RECORD not in event:
            self._write(_record(event))

    def _write(self, record: logging.LogRecord) -> None:
        if is_writing():
            return
        for level, _, writer in self._parts:
            if record.levelno >= level:
                writer.put(record, len(str(record.msg)))

    def start(self) -> None:
        """Start the threads that write. Lines wait until then."""
        for _, _, writer in self._parts:
            writer.start()

    def reopen(self) -> bool:
        """Have all files reopened; return whether there are any."""
        return any([_reopened(target, writer) for _, target, writer in self._parts])

    def close(self) -> None:
        """Write the lines that wait, and end the threads. The caller writes later lines itself."""
        for _, target, writer in self._parts:
            _closed(target, writer)

    def release(self) -> None:
        """Close the log and its files, and collect nothing any more.

        For a process that continues without the log.
        """
        self.close()
        globalLogPublisher.removeObserver(self)
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(self._level_before)
        for _, target, _ in self._parts:
            target.close()


def _target(factory: Any) -> Target:
    section = factory.section
    if not isinstance(factory, FileHandlerFactory) or _rotates(section):
        return HandlerTarget(factory())
    stream = {"STDOUT": sys.stdout, "STDERR": sys.stderr}.get(section.path)
    target = FileTarget(section.path) if stream is None else stream_target(stream)
    return FormattingTarget(factory.create_formatter(), target)


def _rotates(section: Any) -> bool:
    return bool(section.max_size or section.old_files or section.when or section.interval)


def _lost_record(count: int, reason: Exception | None) -> logging.LogRecord:
    return _new_record(logging.ERROR, _lost(count, reason))


def _record(event: LogEvent) -> logging.LogRecord:
    """Return a record of `logging`, with formatted text, for an event of Twisted's log."""
    failure = event.get("log_failure")
    exception = None
    if failure is not None:
        exception = (failure.type, failure.value, failure.getTracebackObject())
    level = _NUMBERS.get(event.get("log_level", LogLevel.info), logging.INFO)
    return _new_record(level, formatEvent(event), exception)


def _new_record(level: int, text: str, exception: Any = None) -> logging.LogRecord:
    """Return a record of this log. The application's record factory makes it, if there is one."""
    factory = logging.getLogRecordFactory()
    return factory(_LOGGER, level, "(unknown file)", 0, text, None, exception)


class _FromLogging(logging.Handler):
    """Passes on each record of `logging`, with formatted text.

    The text is formatted at once, because its arguments may change later.
    """

    def __init__(self, hand_on: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._hand_on = hand_on
        self._this_thread = threading.local()

    def createLock(self) -> None:
        """Have no lock. This handler has no state to protect; the writers have their own locks."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """See `logging.Handler.handle`."""
        if is_writing() or getattr(self._this_thread, "busy", False) or _comes_from_twisted(record):
            return True
        self._this_thread.busy = True
        try:
            self._hand_on(_complete(record))
        finally:
            self._this_thread.busy = False
        return True


def _comes_from_twisted(record: logging.LogRecord) -> bool:
    """Return whether Twisted's own observer for `logging` has made this record."""
    return type(record.msg).__module__.startswith("twisted.logger")


def _complete(record: logging.LogRecord) -> logging.LogRecord:
    record = copy.copy(record)
    try:
        text = record.getMessage()
    except Exception as error:
        # A wrong log call must not raise: it would make the commit fail that it reports.
        text = f"{record.msg!r} with {record.args!r}: {error}"
    record.msg, record.args = text, None
    return record


def _publish(record: logging.LogRecord) -> None:
    """Publish a record of `logging` as an event of Twisted's log."""
    text = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
    levels = (level for number, level in _LEVELS if record.levelno >= number)
    globalLogPublisher(
        {
            "log_level": next(levels, LogLevel.debug),
            "log_namespace": record.name,
            "log_time": record.created,
            "log_format": "{text}",
            "text": text,
            _RECORD: record,
        }
    )


def show_in_twisted_log() -> Callable[[], None]:
    """Publish all records of `logging` in Twisted's log; return a function that ends that."""
    handler = _FromLogging(_publish)
    root = logging.getLogger()
    root.addHandler(handler)
    if root.level > logging.INFO:
        root.setLevel(logging.INFO)
    return lambda: root.removeHandler(handler)
