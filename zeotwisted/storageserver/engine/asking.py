"""What stands for a listener where nobody tells of commits: a standby takes no LISTEN."""

from __future__ import annotations

from threading import Event

from zeotwisted.postgresql import Notice

__all__ = ["Asking"]

#: How long (seconds) to wait before asking again.
_PAUSE = 0.1


class Asking:
    """See `zeotwisted.postgresql.Listener`."""

    def __init__(self) -> None:
        self._woken = Event()

    def wait(self, seconds: float) -> list[Notice]:
        """Return after a short time, or after `wake`."""
        self._woken.wait(min(seconds, _PAUSE))
        self._woken.clear()
        return []

    def wake(self) -> None:
        """Let the thread that waits go on."""
        self._woken.set()

    def close(self) -> None:
        """Let the thread that waits go on."""
        self.wake()
