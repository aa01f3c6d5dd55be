"""Slows down a host from which many attempts to log in have failed."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Throttle"]

#: How many failures of a host are free.
_FREE = 5

#: The time in seconds between two attempts of a host that has had more failures.
_INTERVAL = 2.0

#: After this time in seconds without a failure, a host's failures are forgotten.
_MEMORY = 600.0

#: The longest time in seconds that an attempt waits. More attempts are refused at once.
_LONGEST = 10.0

#: How many hosts are remembered. Then the one whose last failure is the oldest is forgotten.
_HOSTS = 10_000


class _Host:
    def __init__(self) -> None:
        self.failures = 0
        self.last = 0.0
        # When the next attempt may be made.
        self.next = 0.0


class Throttle:
    """Counts failures by host.

    :param seconds: returns the time, in seconds.
    :ivar failures: how many attempts have failed in all.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        # The least recent failure is the first one.
        self._hosts: dict[str, _Host] = {}
        self.failures = 0

    def delay(self, host: str) -> float | None:
        """Return how long (seconds) the next attempt of a host has to wait; None: refuse it."""
        now = self._seconds()
        known = self._hosts.get(host)
        if known is None or now - known.last > _MEMORY or known.failures < _FREE:
            return 0.0
        start = max(now, known.next)
        if start - now > _LONGEST:
            return None
        known.next = start + _INTERVAL
        return start - now

    def failed(self, host: str) -> int:
        """Count a failure of a host. Return how many failures the host has had."""
        self.failures += 1
        now = self._seconds()
        known = self._hosts.pop(host, None)
        if known is None or now - known.last > _MEMORY:
            known = _Host()
        known.failures += 1
        known.last = now
        known.next = max(known.next, now + (_INTERVAL if known.failures >= _FREE else 0.0))
        self._hosts[host] = known
        if len(self._hosts) > _HOSTS:
            del self._hosts[next(iter(self._hosts))]
        return known.failures
