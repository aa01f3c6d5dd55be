"""The commit lock: one transaction at a time between vote and finish, first come, first served."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

__all__ = ["CommitLock", "LockOwner"]


class LockOwner(Protocol):
    """Whoever holds the commit lock or waits for it."""

    @property
    def label(self) -> str:
        """How log lines call it."""

    def lock_timed_out(self, seconds: float) -> None:
        """It held the lock for longer than `seconds` allow, and has to give it back."""


class CommitLock:
    """A fair lock with a time limit.

    :param storage_id: the storage's name, for the log.
    :param timeout: how long (seconds) it may be held; None for ever.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, storage_id: str, timeout: float | None) -> None:
        self._clock = clock
        self._storage_id = storage_id
        self._timeout = timeout
        self._lock = DeferredLock()
        self._timer: IDelayedCall | None = None
        self.holder: LockOwner | None = None
        #: When it was taken (seconds since the epoch); None while it is free.
        self.locked_since: float | None = None

    @property
    def waiting(self) -> int:
        """How many wait for it."""
        return len(self._lock.waiting)

    def acquire(self, owner: LockOwner) -> Deferred[None]:
        """Return a Deferred that fires when `owner` has the lock.

        Cancelling it leaves the queue.
        """
        if self._lock.locked:
            waiting = self.waiting + 1
            emit = self._log.warn if waiting > 3 else self._log.debug
            emit(
                "({label}) waits for the commit lock of storage {storage_id!r}; "
                "transactions waiting: {waiting}",
                label=owner.label,
                storage_id=self._storage_id,
                waiting=waiting,
            )
        acquired: Deferred[None] = self._lock.acquire().addCallback(self._taken, owner)
        return acquired

    def _taken(self, lock: DeferredLock, owner: LockOwner) -> None:
        self.holder = owner
        self.locked_since = self._clock.seconds()
        if self._timeout is not None:
            self._timer = self._clock.callLater(self._timeout, self._expired, owner)

    def _expired(self, owner: LockOwner) -> None:
        assert self._timeout is not None
        self._timer = None
        self._log.critical(
            "({label}) transaction timed out: it held the commit lock of storage {storage_id!r} "
            "for more than {timeout} seconds",
            label=owner.label,
            storage_id=self._storage_id,
            timeout=self._timeout,
        )
        owner.lock_timed_out(self._timeout)

    def release(self, owner: LockOwner) -> None:
        """Hand the lock to the one who waits longest.

        :raises ValueError: `owner` does not hold it.
        """
        if self.holder is not owner:
            raise ValueError(f"{owner.label} does not hold the commit lock")
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.holder = self.locked_since = None
        self._lock.release()
