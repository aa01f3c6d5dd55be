"""Lines of a log on their way to a disk, a pipe or a socket, which may be full, slow or gone.

A thread of its own writes them, so nobody else waits for that. What cannot be written is counted,
and the log says how much it was as soon as it can be written again.
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

#: How many lines may wait to be written. What comes while there are so many is lost, and counted.
MOST = 10_000

#: And how long (characters) all of them may be together.
MOST_TEXT = 2**24

#: How often (seconds) to try whether a log can be written again, while there is no other line.
_RETRY = 1.0

#: How long (seconds) the end of a process may be held up by lines that wait.
_LAST_LINES = 3.0


_this_thread = local()


def is_writing() -> bool:
    """Return whether this thread is writing a line, so that whatever it says must not be logged."""
    return getattr(_this_thread, "writing", False)


class _State(Enum):
    """Which thread writes."""

    COLLECTING = "no thread yet"
    WRITING = "the thread"
    CLOSING = "the thread, until nothing is left"
    DIRECT = "the caller, as the process is about to end"
    STUCK = "no thread any more, as the last line could not be written in time"


class LogWriter:
    """Writes what it is given, in order, in a thread.

    The thread begins with `start`: a daemon goes to the background after it has set up its log, and
    threads do not survive that. Until then lines wait. After `close` there is no thread any more,
    and the few lines that a process may say at its end are written at once.

    :param write: writes one line; raises an exception when that fails.
    :param report: makes a line for `write` that says how many lines were lost, and why; the reason
        is None if there were too many.
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
        """Have a line written, from any thread; return at once.

        :param size: how long (characters) it is, about.
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
        """Have a function called between two lines, in the thread that writes."""
        with self._changed:
            self._jobs.append(function)
            self._changed.notify_all()

    def start(self) -> None:
        """Begin to write."""
        with self._changed:
            if self._state is _State.COLLECTING:
                self._state = _State.WRITING
                self._thread = Thread(target=self._work, name="zeotwisted log", daemon=True)
                self._thread.start()

    def close(self, timeout: float = _LAST_LINES) -> None:
        """Write what there is, but do not wait for longer than `timeout` seconds; then end."""
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
        # A child process that has not gone on to write has its parent's lines.
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
            # Only the log itself can report this, later.
            with self._changed:
                self._lost += 1

    def _tell_lost(self) -> bool:
        """Write how much was lost, if anything was; return whether lines can be written."""
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
