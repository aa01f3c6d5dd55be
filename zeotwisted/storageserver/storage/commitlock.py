"""The commit lock: few transactions between vote and finish, first come, first served.

It is one transaction at a time, unless the storage's database has locks of its own.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel

from ..figures import LOCK_BOUNDS, Histogram, LockReport, Turn
from ..floods import Kind

__all__ = ["CommitLock", "LockOwner"]


class LockOwner(Protocol):
    """A transaction that holds the commit lock, or waits for it."""

    @property
    def label(self) -> str:
        """The name of the transaction's client in log lines."""

    @property
    def number(self) -> int:
        """The number of the client's connection."""

    @property
    def about(self) -> str:
        """The client and the user, for messages to others."""

    @property
    def log_fields(self) -> dict[str, Any]:
        """The client, the storage and the transaction id, as values of log events.

        They are ``label``, ``storage_id`` and ``transaction``, which may be None.
        """

    @property
    def details(self) -> str:
        """The user, the age and the size of the transaction, for the log."""

    def lock_timed_out(self, seconds: float) -> None:
        """Give up the lock, because it was held for more than `seconds`."""

    def waited_too_long(self, seconds: float, blocker: str) -> None:
        """Do not wait any more: it has waited for `seconds`.

        :param blocker: the transaction that holds the lock, in words.
        """

    def admit(self, kind: Kind) -> bool:
        """Return whether to write one more log line of this kind about it."""


class _Waiting(NamedTuple):
    """A transaction in the queue."""

    owner: LockOwner
    acquired: Deferred[bool]
    #: When it began to wait, in seconds of the clock.
    since: float


class _Held:
    """What is known of a transaction that holds the lock.

    :ivar since: when it got the lock (seconds since the epoch).
    :ivar timer: runs while the server waits for its client.
    """

    __slots__ = ("since", "timer")

    def __init__(self, since: float) -> None:
        self.since = since
        self.timer: IDelayedCall | None = None


#: How many waiting transactions the log names.
_NAMED = 5


class CommitLock:
    """A fair lock with a time limit.

    :param storage_id: the storage's name, for the log.
    :param timeout: how long (seconds) a holder may keep the server waiting; None: no limit.
    :param most: how many transactions may hold it at the same time.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, storage_id: str, timeout: float | None, most: int = 1
    ) -> None:
        self._clock = clock
        self._storage_id = storage_id
        self._timeout = timeout
        self._most = most
        # In the order in which they got the lock.
        self._held: dict[LockOwner, _Held] = {}
        self._queue: deque[_Waiting] = deque()
        self._passes_on = False
        self._waits = Histogram(LOCK_BOUNDS)
        self._holds = Histogram(LOCK_BOUNDS)
        # Fires when the lock is free; set by `drain`. The lock is not passed on then.
        self._drained: Deferred[None] | None = None

    @property
    def holders(self) -> list[LockOwner]:
        """The transactions that hold the lock; the one that has held it longest is the first."""
        return list(self._held)

    def is_held_by(self, owner: LockOwner) -> bool:
        """Return whether a transaction holds the lock."""
        return owner in self._held

    @property
    def locked_since(self) -> float | None:
        """When the first of `holders` got the lock (seconds since the epoch), or None."""
        return next((held.since for held in self._held.values()), None)

    @property
    def waiting(self) -> int:
        """The number of transactions that wait for the lock."""
        return len(self._queue)

    def report(self) -> LockReport:
        """Return who holds the lock and who waits, and how long that has taken so far."""
        now = self._clock.seconds()
        holders = [
            Turn(owner.label, now - held.since, owner.number) for owner, held in self._held.items()
        ]
        waiting = [
            Turn(entry.owner.label, now - entry.since, entry.owner.number) for entry in self._queue
        ]
        return LockReport(holders, waiting, self._waits, self._holds)

    def seconds(self) -> float:
        """Return the time of the lock's clock."""
        return self._clock.seconds()

    def acquire(self, owner: LockOwner, patience: float | None = None) -> Deferred[bool]:
        """Return a Deferred that fires with True when `owner` has the lock.

        A Deferred that is cancelled before that leaves the queue, and fires with False. It does not
        fail: the traceback of an exception would keep a disconnected client in memory.

        :param patience: after this time (seconds), call `owner.waited_too_long`; None: never.
        """
        acquired: Deferred[bool] = Deferred(self._cancelled)
        if len(self._held) < self._most and not self._queue and self._drained is None:
            self._take(owner, 0.0)
            acquired.callback(True)
            return acquired
        self._queue.append(_Waiting(owner, acquired, self._clock.seconds()))
        self._log_queue(owner, "queue")
        if patience is not None:
            late = self._clock.callLater(patience, self._late, owner, patience)
            acquired.addBoth(_stop, late)
        return acquired

    def _late(self, owner: LockOwner, patience: float) -> None:
        owner.waited_too_long(patience, self._blocker())

    def _blocker(self) -> str:
        for holder, held in self._held.items():
            seconds = self._clock.seconds() - held.since
            return f"which {holder.about} has held for {seconds:.0f} seconds"
        return "which is passed on"

    def _log_queue(self, owner: LockOwner, what: str) -> None:
        # The texts and levels are those of ZEO's log: operators' tools search for them.
        level = LogLevel.debug
        if self.waiting > 3:
            level = LogLevel.critical if self.waiting > 9 else LogLevel.warn
            if not owner.admit(Kind.LOCK):
                return
        self._log.emit(
            level,
            "({label}) ({storage_id!r}) {what} lock: transactions waiting: {waiting}",
            **owner.log_fields,
            what=what,
            waiting=self.waiting,
        )

    def _cancelled(self, acquired: Deferred[bool]) -> None:
        self._queue = deque(entry for entry in self._queue if entry.acquired is not acquired)
        acquired.callback(False)

    def _take(self, owner: LockOwner, waited: float) -> None:
        self._waits.add(waited)
        self._held[owner] = _Held(self._clock.seconds())

    def waits_for_client(self, owner: LockOwner) -> None:
        """Begin to count the time of `timeout`: the holder's client has to make the next call.

        The time of the server's own work does not count. A vote with many blobs may take long.
        """
        if self._timeout is not None:
            self._held[owner].timer = self._clock.callLater(self._timeout, self._expired, owner)

    def stop_waiting(self, owner: LockOwner) -> None:
        """Stop to count: the holder's client has made its call."""
        held = self._held[owner]
        if held.timer is not None:
            held.timer.cancel()
            held.timer = None

    def _expired(self, owner: LockOwner) -> None:
        assert self._timeout is not None
        self._held[owner].timer = None
        # The beginning is that of ZEO's line.
        self._log.critical(
            "({label}) Transaction timeout after {timeout:g} seconds: it held the commit lock of "
            "storage {storage_id!r} for longer; {details}; {waiting}",
            **owner.log_fields,
            timeout=self._timeout,
            details=owner.details,
            waiting=self._described_queue(),
        )
        owner.lock_timed_out(self._timeout)

    def _described_queue(self) -> str:
        if not self._queue:
            return "no other transaction waits"
        now = self._clock.seconds()
        named = ", ".join(
            f"{entry.owner.label} for {now - entry.since:.0f} seconds"
            for entry in islice(self._queue, _NAMED)
        )
        more = len(self._queue) - _NAMED
        return f"waiting for it: {named}" + (f" and {more} more" if more > 0 else "")

    def release(self, owner: LockOwner) -> None:
        """Release the lock. The transaction that has waited longest gets it next.

        :raises ValueError: `owner` does not hold the lock.
        """
        if owner not in self._held:
            raise ValueError(f"{owner.label} does not hold the commit lock")
        self.stop_waiting(owner)
        self._holds.add(self._clock.seconds() - self._held.pop(owner).since)
        if self._drained is None:
            self._pass_on()
        elif not self._held and not self._drained.called:
            self._drained.callback(None)

    def drain(self) -> Deferred[None]:
        """Do not pass on the lock any more. Return a Deferred that fires when it is free."""
        self._drained = Deferred()
        if not self._held:
            self._drained.callback(None)
        return self._drained

    def _pass_on(self) -> None:
        # A transaction that gets the lock may release it at once, and call this again. A long queue
        # would then exceed the recursion limit. So only the first call runs the loop.
        if self._passes_on:
            return
        self._passes_on = True
        try:
            while self._queue and len(self._held) < self._most:
                entry = self._queue.popleft()
                self._take(entry.owner, self._clock.seconds() - entry.since)
                entry.acquired.callback(True)
        finally:
            self._passes_on = False


def _stop(result: bool, call: IDelayedCall) -> bool:
    if call.active():
        call.cancel()
    return result
