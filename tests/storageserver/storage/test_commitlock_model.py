"""The commit lock against a holder and a list of those that wait."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock

from zeotwisted.storageserver.floods import Kind
from zeotwisted.storageserver.storage.commitlock import CommitLock

from ...models import effort

#: How long (seconds) the lock lets its holder's client take for a call. Everything else happens at
#: whole seconds, so that no two things happen at the same time.
TIMEOUT = 10.5


class Owner:
    """A transaction. It writes down what the lock tells it.

    :param hasty: releases the lock as soon as it has it.
    """

    def __init__(self, number: int, lock: CommitLock, heard: list[Any], hasty: bool) -> None:
        self.number = number
        self.label = self.about = self.details = f"<{number}>"
        self.hasty = hasty
        self.log_fields = {"label": self.label}
        self._lock = lock
        self._heard = heard
        self.acquired: Any = None

    def acquire(self, patience: float | None) -> None:
        self.acquired = self._lock.acquire(self, patience)
        self.acquired.addCallback(self._answered)

    def _answered(self, got_it: bool) -> None:
        self._heard.append((self, "got it" if got_it else "left"))
        if got_it and self.hasty:
            self._lock.release(self)

    def lock_timed_out(self, seconds: float) -> None:
        assert seconds == TIMEOUT
        self._heard.append((self, "timed out"))
        self._lock.release(self)

    def waited_too_long(self, seconds: float, blocker: str) -> None:
        holders = self._lock.holders
        assert (holders[0].about if holders else "passed on") in blocker
        self._heard.append((self, "lost patience"))
        self.acquired.cancel()

    def admit(self, kind: Kind) -> bool:
        return True


class Lock(RuleBasedStateMachine):
    """The model has a holder, and a list of those that wait."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.lock = CommitLock(self.clock, "1", TIMEOUT)
        self.heard: list[Any] = []
        self.owners = 0
        # The model.
        self.holder: Owner | None = None
        self.locked_since: float | None = None
        self.expires: float | None = None
        #: Each with the time at which it loses patience.
        self.line: list[tuple[Owner, float | None]] = []
        self.drained: Any = None
        self.expected: list[Any] = []

    def free(self) -> None:
        self.holder = self.locked_since = self.expires = None
        while self.line and self.holder is None and self.drained is None:
            (owner, _), *self.line = self.line
            self.take(owner)

    def take(self, owner: Owner) -> None:
        self.expected.append((owner, "got it"))
        if not owner.hasty:
            self.holder, self.locked_since = owner, self.clock.seconds()

    @rule(patience=st.none() | st.integers(1, 20), hasty=st.booleans())
    def acquire(self, patience: int | None, hasty: bool) -> None:
        self.owners += 1
        owner = Owner(self.owners, self.lock, self.heard, hasty)
        if self.holder is None and self.drained is None:
            self.take(owner)
        else:
            late = None if patience is None else self.clock.seconds() + patience
            self.line.append((owner, late))
        owner.acquire(patience)

    @precondition(lambda self: self.holder)
    @rule()
    def release(self) -> None:
        holder = self.holder
        self.free()
        self.lock.release(holder)  # type: ignore[arg-type]

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        entry = data.draw(st.sampled_from(self.line))
        self.line.remove(entry)
        self.expected.append((entry[0], "left"))
        entry[0].acquired.cancel()

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def release_what_another_holds(self, data: Any) -> None:
        owner, _ = data.draw(st.sampled_from(self.line))
        with pytest.raises(ValueError, match=owner.label):
            self.lock.release(owner)

    @precondition(lambda self: self.holder and self.expires is None)
    @rule()
    def wait_for_the_client(self) -> None:
        self.expires = self.clock.seconds() + TIMEOUT
        self.lock.waits_for_client(self.holder)  # type: ignore[arg-type]

    @precondition(lambda self: self.holder)
    @rule()
    def stop_waiting(self) -> None:
        self.expires = None
        self.lock.stop_waiting(self.holder)  # type: ignore[arg-type]

    @rule(seconds=st.integers(1, 12))
    def time_passes(self, seconds: int) -> None:
        for _ in range(2 * seconds):
            now = self.clock.seconds() + 0.5
            late = [entry for entry in self.line if entry[1] == now]
            for owner, _ in late:
                self.expected += [(owner, "lost patience"), (owner, "left")]
            self.line = [entry for entry in self.line if entry not in late]
            expired = self.holder if self.expires == now else None
            if expired is not None:
                self.expected.append((expired, "timed out"))
            self.clock.advance(0.5)
            if expired is not None:
                self.free()

    @precondition(lambda self: self.drained is None and self.owners > 5)
    @rule()
    def drain(self) -> None:
        self.drained = self.lock.drain()

    @invariant()
    def is_as_the_model_says(self) -> None:
        assert self.lock.holders == ([] if self.holder is None else [self.holder])
        assert self.lock.locked_since == self.locked_since
        assert self.lock.waiting == len(self.line)
        # Those that lose patience at the same time do so in any order.
        assert sorted(self.heard, key=str) == sorted(self.expected, key=str)
        got_it = [owner for owner, what in self.heard if what == "got it"]
        assert got_it == [owner for owner, what in self.expected if what == "got it"]
        if self.drained is not None:
            assert self.drained.called == (self.holder is None)

    @invariant()
    def only_the_needed_timers_run(self) -> None:
        times = [late for _, late in self.line if late is not None]
        if self.expires is not None:
            times.append(self.expires)
        assert sorted(call.getTime() for call in self.clock.getDelayedCalls()) == sorted(times)


Lock.TestCase.settings = effort(80, 40)
TestLock = Lock.TestCase
