"""The commit lock of a storage in which several transactions vote at the same time."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from zeotwisted.storageserver.floods import Kind
from zeotwisted.storageserver.storage.commitlock import CommitLock


class Owner:
    """A transaction. It writes down what the lock tells it."""

    def __init__(self, name: str) -> None:
        self.number = 1
        self.label = self.about = self.details = name
        self.log_fields = {"label": name, "storage_id": "1", "transaction": None}
        self.timeouts: list[float] = []
        self.blockers: list[str] = []

    def lock_timed_out(self, seconds: float) -> None:
        self.timeouts.append(seconds)

    def waited_too_long(self, seconds: float, blocker: str) -> None:
        self.blockers.append(blocker)

    def admit(self, kind: Kind) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lock(clock: Clock) -> CommitLock:
    return CommitLock(clock, "1", 10, most=2)


@pytest.fixture
def owners() -> list[Owner]:
    return [Owner(name) for name in "abcd"]


def acquire(lock: CommitLock, *owners: Owner) -> list[Any]:
    return [lock.acquire(owner) for owner in owners]


def test_as_many_as_may(lock: CommitLock, owners: list[Owner]) -> None:
    acquired = acquire(lock, *owners)
    assert [each.called for each in acquired] == [True, True, False, False]
    assert lock.holders == owners[:2]
    assert lock.waiting == 2
    # It need not be the first one that ends first.
    lock.release(owners[1])
    assert acquired[2].called and not acquired[3].called
    assert lock.holders == [owners[0], owners[2]]
    lock.release(owners[0])
    assert acquired[3].called
    assert lock.holders == owners[2:]


def test_who_comes_later_does_not_overtake(lock: CommitLock, owners: list[Owner]) -> None:
    """Not even at the moment when the one before has already released the lock again."""
    a, b, c, d = owners
    e = Owner("e")

    def release_and_acquire(got_it: bool) -> None:
        lock.release(c)
        lock.acquire(e)

    acquire(lock, a, b)
    lock.acquire(c).addCallback(release_and_acquire)
    lock.acquire(d)
    lock.release(a)
    assert lock.holders == [b, d]
    assert lock.waiting == 1


def test_each_has_a_time_limit_of_its_own(
    lock: CommitLock, clock: Clock, owners: list[Owner]
) -> None:
    a, b = owners[:2]
    acquire(lock, a, b)
    lock.waits_for_client(a)
    clock.advance(5)
    lock.waits_for_client(b)
    lock.stop_waiting(a)
    clock.advance(9)
    assert (a.timeouts, b.timeouts) == ([], [])
    clock.advance(1)
    assert (a.timeouts, b.timeouts) == ([], [10])


def test_only_holders_release(lock: CommitLock, owners: list[Owner]) -> None:
    acquire(lock, *owners)
    with pytest.raises(ValueError, match="c does not hold"):
        lock.release(owners[2])
    assert lock.holders == owners[:2]


def test_who_waits_is_told_of_the_longest_holder(
    lock: CommitLock, clock: Clock, owners: list[Owner]
) -> None:
    a, b, c, _ = owners
    lock.acquire(a)
    clock.advance(1)
    lock.acquire(b)
    lock.acquire(c, patience=2)
    clock.advance(2)
    assert c.blockers == ["which a has held for 3 seconds"]


def test_drained_when_all_are_over(lock: CommitLock, owners: list[Owner]) -> None:
    acquired = acquire(lock, *owners)
    drained = lock.drain()
    lock.release(owners[0])
    assert not drained.called
    lock.release(owners[1])
    assert drained.called
    assert not acquired[2].called
