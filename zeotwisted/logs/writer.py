"""Writes the lines of a log in a thread, to a disk, a pipe or a socket that may be full or slow.

No other thread waits for the log. Lines that cannot be written are counted as lost. When the log
can be written again, it gets a line with this count.
"""

from __future__ import annotations

import atexit
import os
from collections import deque
from collections.abc import Callable
from enum import Enum
from threading import Condition, Thread, local
from typing import Any

__all__ = ["MOST", "LogWriter", "is_writing"]

#: How many lines may wait to be written. Further lines are lost, and counted.
MOST = 10_000

#: How long (characters) all waiting lines together may be.
MOST_TEXT = 2**24

#: How often (seconds) to try to write the count of lost lines, while there is no other line.
_RETRY = 1.0

#: How long (seconds) the process waits at its end for the lines that are not written yet.
_LAST_LINES = 3.0


_this_thread = local()


def is_writing() -> bool:
    """Return whether the calling thread is writing a log line. Nothing may be logged then."""
    return getattr(_this_thread, "writing", False)


class _State(Enum):
    """Which thread writes."""

    COLLECTING = "no thread yet"
    WRITING = "the thread"
    CLOSING = "the thread, until nothing is left"
    DIRECT = "the caller, as the process is about to end"
    STUCK = "no thread any more, as the last line could not be written in time"


class LogWriter:
    """Writes lines in a thread, in the order of the calls.

    `start` starts the thread: a daemon forks after it has set up its log, and a thread does not
    survive a fork. Lines wait until then. `close` ends the thread. After that the calling thread
    writes each line itself; these are only the last lines of the process.

    :param write: writes one line; raises an exception when that fails.
    :param report: makes a line for `write` from the number of lost lines and the reason. The reason
        is None if too many lines were waiting.
    :param most: how many lines may wait.
    """

    def __init__(
        self,
        write: Callable[[Any], object],
        report: Callable[[int, Exception | None], Any],
        most: int = MOST,
    ) -> None:
        self._write = write
        self._report = report
        self._most = most
        self._state = _State.COLLECTING
        self._jobs: deque[Callable[[], object]] = deque()
        self._waiting_text = 0
        self._changed = Condition()
        self._thread: Thread | None = None
        self._process = os.getpid()
        self._lost = 0
        self._reason: Exception | None = None

    def put(self, line: Any, size: int = 0) -> None:
        """Queue a line, in any thread; return at once. Write it here if the writer is closed.

        :param size: about how long (characters) the line is.
        """
        with self._changed:
            if self._state is not _State.DIRECT:
                if self._state is _State.STUCK or self._is_full(size):
                    self._lost += 1
                else:
                    self._waiting_text += size
                    self._jobs.append(lambda: self._write_waiting(line, size))
                    self._changed.notify_all()
                return
        self._try(line)

    def _is_full(self, size: int) -> bool:
        waiting = len(self._jobs)
        too_long = waiting > 0 and self._waiting_text + size > MOST_TEXT
        return waiting >= self._most or too_long

    def _write_waiting(self, line: Any, size: int) -> None:
        self._try(line)
        with self._changed:
            self._waiting_text -= size

    def call(self, function: Callable[[], object]) -> None:
        """Have the writing thread call a function, after the lines that wait now."""
        with self._changed:
            self._jobs.append(function)
            self._changed.notify_all()

    def start(self) -> None:
        """Start the thread, unless it has been started."""
        with self._changed:
            if self._state is _State.COLLECTING:
                self._state = _State.WRITING
                self._thread = Thread(target=self._work, name="zeotwisted log", daemon=True)
                self._thread.start()

    def close(self, timeout: float = _LAST_LINES) -> None:
        """Write the lines that wait, and end the thread.

        :param timeout: how many seconds to wait for that. The remaining lines are lost then.
        """
        atexit.unregister(self._close_at_exit)
        self.start()
        with self._changed:
            if self._state is not _State.WRITING:
                return
            self._state = _State.CLOSING
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._state is _State.DIRECT, timeout)
            if self._state is _State.CLOSING:
                self._state = _State.STUCK

    def close_at_exit(self) -> None:
        """Have `close` called when this process ends."""
        atexit.register(self._close_at_exit)

    def _close_at_exit(self) -> None:
        # A forked child that has never written holds copies of its parent's lines, which the
        # parent writes.
        if os.getpid() == self._process or self._state is not _State.COLLECTING:
            self.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work, _RETRY if self._lost else None)
                if self._jobs and self._state is not _State.STUCK:
                    job = self._jobs.popleft()
                elif self._state is _State.WRITING:
                    job = self._tell_lost
                else:
                    if self._state is _State.CLOSING:
                        self._state = _State.DIRECT
                    self._changed.notify_all()
                    return
            job()

    def _has_work(self) -> bool:
        return bool(self._jobs) or self._state is not _State.WRITING

    def _try(self, line: Any) -> None:
        if not self._tell_lost() or not self._written(line):
            # The log itself reports this later. An exception would reach the code that logs.
            with self._changed:
                self._lost += 1

    def _tell_lost(self) -> bool:
        """Write the count of lost lines, if there are any; return whether lines can be written."""
        lost, reason = self._lost, self._reason
        if lost:
            if not self._written(self._report(lost, reason)):
                return False
            with self._changed:
                self._lost -= lost
                self._reason = None
        return True

    def _written(self, line: Any) -> bool:
        _this_thread.writing = True
        try:
            self._write(line)
        except Exception as error:
            self._reason = error
            return False
        finally:
            _this_thread.writing = False
        return True
