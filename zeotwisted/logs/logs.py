"""Where the lines of the daemon's log come from, and where they go.

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
                  (it leaves out what the publisher has from `logging`)

Lines go down only. Nothing leads from Twisted's log to `logging`: the handlers of an <eventlog>
hang on no logger. A FileLog and an EventLog put lines into the queues of `writer`, whose threads
write to `targets`. twistd has whatever is printed become a line of its log; but nothing is
logged that is said in a thread that writes a log, so no log is fed by its own failure.

An application may have an observer that leads from Twisted's log to `logging`. What comes out of
that, and what is logged while a line is handed on, is left out as well.
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

#: The key of an event for the record that it was made of.
_RECORD = "zeotwisted_record"

_LEVELS = (
    (logging.CRITICAL, LogLevel.critical),
    (logging.ERROR, LogLevel.error),
    (logging.WARNING, LogLevel.warn),
    (logging.INFO, LogLevel.info),
    (logging.DEBUG, LogLevel.debug),
)
_NUMBERS = {level: number for number, level in _LEVELS}

#: The paths of standard output and error, in ZConfig's words and the system's.
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
    """Have a target's file opened anew, and return whether there is one."""

    def reopen() -> None:
        try:
            target.reopen()
        except Exception:
            # The next line tries again, and is counted if that fails.
            target.close()

    if target.has_file:
        writer.call(reopen)
    return target.has_file


def _closed(target: Target, writer: LogWriter) -> None:
    writer.close()
    # What is written now is written by the caller, and must not wait.
    target.abandon()


class FileLog:
    """Twisted's log in a file, or at standard output."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._writer = _writer(target, lambda count, reason: f"{_lost(count, reason)}\n")

    @classmethod
    def at(cls, path: str) -> FileLog:
        """Return the log in the file at `path`, which is rotated when it is long, as twistd's is.

        :raises OSError: the file cannot be written.
        """
        return cls(file_target(path))

    @classmethod
    def of(cls, file: Any) -> FileLog:
        """Return the log that goes to a stream, or to a file that is already open."""
        if file in (sys.stdout, sys.stderr):
            return cls(stream_target(file))
        return cls(FileTarget(file.name))

    # What Twisted's own observers need of a file.

    def write(self, text: str) -> None:
        """Have `text` written."""
        if not is_writing():
            self._writer.put(text, len(text))

    def flush(self) -> None:
        """There is nothing to do: the thread that writes does it."""

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    def close(self) -> None:
        """Write what there is. What comes later is written at once."""
        _closed(self._target, self._writer)

    def release(self) -> None:
        """Close, and close the file, where the process goes on."""
        self.close()
        self._target.close()

    def reopen(self) -> bool:
        """Open the file anew; return whether there is one."""
        return _reopened(self._target, self._writer)


@implementer(ILogObserver)
def silence(event: LogEvent) -> None:
    """An observer that shows nothing."""


def writes_to_terminal(eventlog: Any) -> bool:
    """Return whether an ``<eventlog>`` section writes to standard output or error."""
    return any(
        getattr(factory.section, "path", None) in _TERMINAL
        for factory in eventlog.handler_factories
    )


@implementer(ILogObserver)
class EventLog:
    """What an ``<eventlog>`` section describes, each of its parts written by a thread.

    From the beginning it is told what is logged with Twisted and with `logging`.

    :param eventlog: what ZConfig made of the section.
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
        """Begin to write."""
        for _, _, writer in self._parts:
            writer.start()

    def reopen(self) -> bool:
        """Open all files anew; return whether there are any."""
        return any([_reopened(target, writer) for _, target, writer in self._parts])

    def close(self) -> None:
        """Write what there is. What comes later is written at once."""
        for _, target, writer in self._parts:
            _closed(target, writer)

    def release(self) -> None:
        """Close, be told nothing any more, and close the files, where the process goes on."""
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
    """Return an event of Twisted's log as a record whose text is complete."""
    failure = event.get("log_failure")
    exception = None
    if failure is not None:
        exception = (failure.type, failure.value, failure.getTracebackObject())
    level = _NUMBERS.get(event.get("log_level", LogLevel.info), logging.INFO)
    return _new_record(level, formatEvent(event), exception)


def _new_record(level: int, text: str, exception: Any = None) -> logging.LogRecord:
    """Return a record of ours; it has what an application adds to all records."""
    factory = logging.getLogRecordFactory()
    return factory(_LOGGER, level, "(unknown file)", 0, text, None, exception)


class _FromLogging(logging.Handler):
    """Hands on what is logged with `logging`, as records whose text is complete.

    The text is made at once, as its arguments may be something else later.
    """

    def __init__(self, hand_on: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._hand_on = hand_on
        self._this_thread = threading.local()

    def createLock(self) -> None:
        """Have no lock: there is nothing to protect, and what is called has locks of its own."""
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
        # A mistake in a log line must not make the commit fail that the line describes.
        text = f"{record.msg!r} with {record.args!r}: {error}"
    record.msg, record.args = text, None
    return record


def _publish(record: logging.LogRecord) -> None:
    """Tell Twisted's log a record."""
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
    """Have Twisted's log show what is logged with `logging`; return how to end that."""
    handler = _FromLogging(_publish)
    root = logging.getLogger()
    root.addHandler(handler)
    if root.level > logging.INFO:
        root.setLevel(logging.INFO)
    return lambda: root.removeHandler(handler)
