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
from threading import Condition, Thread
from typing import Any

__all__ = ["MOST", "LogWriter"]

#: How many lines may wait to be written. What comes while there are so many is lost, and counted.
MOST = 10_000

#: How long (seconds) the end of a process may be held up by lines that wait.
_LAST_LINES = 3.0


class _State(Enum):
    """Who writes."""

    COLLECTING = "nobody yet"
    WRITING = "the thread"
    CLOSING = "the thread, until nothing is left"
    DIRECT = "the caller, as the process is about to end"
    STUCK = "nobody any more, as the last line could not be written in time"


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
        self._changed = Condition()
        self._thread: Thread | None = None
        self._lost = 0
        self._reason: Exception | None = None

    def put(self, line: Any) -> None:
        """Have a line written, from any thread; return at once."""
        with self._changed:
            if self._state is not _State.DIRECT:
                if self._state is _State.STUCK or len(self._jobs) >= self._most:
                    self._lost += 1
                else:
                    self._jobs.append(lambda: self._try(line))
                    self._changed.notify_all()
                return
        self._try(line)

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
        pid = os.getpid()

        def close() -> None:
            # A child process that has not gone on to write has its parent's lines.
            if os.getpid() == pid or self._state is not _State.COLLECTING:
                self.close()

        atexit.register(close)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._state is not _State.WRITING)
                if not self._jobs or self._state is _State.STUCK:
                    if self._state is _State.CLOSING:
                        self._state = _State.DIRECT
                    self._changed.notify_all()
                    return
                job = self._jobs.popleft()
            job()

    def _try(self, line: Any) -> None:
        try:
            if self._lost:
                lost, reason = self._lost, self._reason
                self._write(self._report(lost, reason))
                with self._changed:
                    self._lost -= lost
                    self._reason = None
            self._write(line)
        except Exception as error:
            # There is no place where this could be told but the log itself, later.
            with self._changed:
                self._lost += 1
                self._reason = error
