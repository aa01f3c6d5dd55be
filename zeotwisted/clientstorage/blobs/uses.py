"""Records which files of a blob cache this client has used."""

from __future__ import annotations

import threading
import time

__all__ = ["OwnUses"]


class OwnUses:
    """The last uses of files by this client. All methods may be called in any thread.

    The access time of a file shows when it was used, but not by which process.

    :param seconds: how long to remember a use.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        # The oldest first.
        self._uses: dict[str, int] = {}

    def note(self, path: str, used: int) -> None:
        """Record that this client uses the file at the time `used` (nanoseconds)."""
        forgotten = time.time_ns() - int(self._seconds * 1e9)
        with self._lock:
            self._uses.pop(path, None)
            self._uses[path] = used
            while self._uses[oldest := next(iter(self._uses))] < forgotten:
                del self._uses[oldest]
                if not self._uses:
                    break

    def is_last(self, path: str, used: int) -> bool:
        """Return whether this client was the last one that used the file.

        :param used: the access time of the file; some file systems round it down.
        """
        with self._lock:
            return used <= self._uses.get(path, -1)
