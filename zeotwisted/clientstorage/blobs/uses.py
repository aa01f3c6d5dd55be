"""Which files of a cache of blobs this client has used itself."""

from __future__ import annotations

import threading
import time

__all__ = ["OwnUses"]


class OwnUses:
    """The last uses by this client. A file shows when it was used, but not by which process.

    All methods may be called in any thread.

    :param seconds: how long to remember them.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        # The oldest first.
        self._uses: dict[str, int] = {}

    def note(self, path: str, used: int) -> None:
        """This client uses the file, at that time (nanoseconds)."""
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

        :param used: when the file says that it was used; less exactly on some file systems.
        """
        with self._lock:
            return used <= self._uses.get(path, -1)
