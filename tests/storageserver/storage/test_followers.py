"""Commits that wait for a standby."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from twisted.internet.task import Clock
from ZODB.utils import p64

from zeotwisted.storageserver.storage.followers import Followers


class Client:
    """A listener that keeps what it is told."""

    takes_timeouts = True

    def __init__(self, label: str = "client") -> None:
        self.label = label
        self.told: list[Any] = []

    def tell(self, news: Any) -> None:
        self.told.append(news)

    def send(self) -> None: ...

    def drop(self, reason: str) -> None: ...

    def admit(self, kind: Any) -> bool:
        return True


class Storage:
    def __init__(self, patience: float = 3.0) -> None:
        self.clock = Clock()
        self.last = p64(1)
        self.followers = Followers(self.clock, "1", patience, lambda: self.last)

    def commit(self, tid: int) -> list[Any]:
        """Return what a commit's answer waits for: a list that is empty until it goes on."""
        gone_on: list[Any] = []
        waits = self.followers.replicated(p64(tid), [p64(7)])
        if waits is None:
            return [None]
        waits.addCallback(gone_on.append)
        return gone_on

    @property
    def synchronous(self) -> bool:
        return self.followers.report().synchronous


@pytest.fixture
def storage() -> Storage:
    return Storage()


def test_a_standby_that_has_everything_is_waited_for(storage: Storage) -> None:
    assert storage.commit(2) == [None]
    standby = Client()
    storage.followers.acknowledged(standby, p64(0))
    assert not storage.synchronous
    storage.followers.acknowledged(standby, p64(1))
    assert storage.synchronous
    waits = storage.commit(3)
    assert len(standby.told) == 1
    assert storage.followers.was_told(standby, p64(3))
    assert not storage.followers.was_told(Client(), p64(3))
    storage.followers.acknowledged(standby, p64(2))
    assert waits == []
    storage.followers.acknowledged(standby, p64(3))
    assert waits == [None]
    assert not storage.clock.getDelayedCalls()


def test_one_that_is_late_is_not_waited_for_again(storage: Storage) -> None:
    standby = Client()
    storage.followers.acknowledged(standby, p64(1))
    waits = storage.commit(2)
    storage.clock.advance(2.9)
    assert waits == []
    storage.clock.advance(0.2)
    assert waits == [None]
    storage.last = p64(2)
    assert not storage.synchronous and storage.commit(3) == [None]
    storage.last = p64(3)
    storage.followers.acknowledged(standby, p64(2))
    assert not storage.synchronous
    storage.followers.acknowledged(standby, p64(3))
    assert storage.synchronous


def test_one_that_leaves_is_not_waited_for(storage: Storage) -> None:
    first, second = Client(), Client()
    for standby in (first, second):
        storage.followers.acknowledged(standby, p64(1))
    waits = storage.commit(2)
    storage.followers.left(first)
    storage.followers.left(Client())
    assert waits == [] and storage.synchronous
    storage.followers.left(second)
    assert waits == [None] and not storage.synchronous
    assert not storage.clock.getDelayedCalls()


def test_any_of_several_is_enough(storage: Storage) -> None:
    standbys = [Client(), Client()]
    for standby in standbys:
        storage.followers.acknowledged(standby, p64(1))
    waits = storage.commit(2)
    assert all(standby.told for standby in standbys)
    storage.followers.acknowledged(standbys[1], p64(2))
    assert waits == [None]


def test_one_that_comes_in_between_is_told_by_the_publication(storage: Storage) -> None:
    standby, late = Client(), Client()
    storage.followers.acknowledged(standby, p64(1))
    storage.commit(2)
    storage.followers.acknowledged(late, p64(1))
    assert not storage.followers.was_told(late, p64(2))


def test_nobody_has_what_is_not_there(storage: Storage) -> None:
    """It would be taken for one that has everything, now and later."""
    liar = Client()
    for tid in (p64(2), b"\xff" * 8):
        with pytest.raises(ValueError, match="has no transaction"):
            storage.followers.acknowledged(liar, tid)
    assert not storage.synchronous and storage.followers.report().connected == 0
    storage.followers.acknowledged(liar, p64(1))
    waits = storage.commit(2)
    with pytest.raises(ValueError, match="has no transaction"):
        storage.followers.acknowledged(liar, p64(3))
    assert waits == []
    storage.followers.acknowledged(liar, p64(2))
    assert waits == [None]


def test_one_that_has_left_is_forgotten(storage: Storage) -> None:
    standby = Client()
    storage.followers.acknowledged(standby, p64(1))
    storage.commit(2)
    gone = weakref.ref(standby)
    storage.followers.left(standby)
    del standby
    gc.collect()
    assert gone() is None


def test_nothing_waits_without_the_setting() -> None:
    storage = Storage(patience=0.0)
    storage.followers.acknowledged(Client(), p64(1))
    assert storage.commit(2) == [None]
    assert storage.followers.report() == (1, False, False)
