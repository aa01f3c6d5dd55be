"""Threads that have nothing to do end."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from twisted.internet.task import Clock

from zeotwisted.storageserver.threadpool import IdlingPool


class Reactor(Clock):
    """A clock, and the calls from threads."""

    def __init__(self) -> None:
        super().__init__()
        self.called = threading.Semaphore(0)
        self.calls: list[Any] = []

    def callFromThread(self, function: Any, *args: Any) -> None:
        self.calls.append((function, args))
        self.called.release()

    def turn(self) -> None:
        """Make one call from a thread."""
        assert self.called.acquire(timeout=20)
        function, args = self.calls.pop(0)
        function(*args)


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "some name" in thread.name]


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def wait_for_end(pool: IdlingPool) -> None:
    for thread in threading.enumerate():
        if "some name" in thread.name:
            thread.join(20)


def test_threads_end_when_they_are_idle(reactor: Reactor) -> None:
    pool = IdlingPool(reactor, "some name", 3)
    done: list[int] = []
    for number in range(5):
        pool.run(int, number).addCallback(done.append)
    for _ in range(5):
        reactor.turn()
    assert sorted(done) == list(range(5))
    assert 1 <= len(names()) <= 3
    reactor.advance(9)
    pool.run(int, 5).addCallback(done.append)
    assert not reactor.getDelayedCalls()
    reactor.turn()
    reactor.advance(10)
    wait_for_end(pool)
    assert names() == []
    # There are new ones when they are needed.
    pool.run(int, 6).addCallback(done.append)
    reactor.turn()
    assert done[-1] == 6
    pool.prepare_stop()
    assert not reactor.getDelayedCalls()
    pool.stop()
    assert names() == []


def test_a_call_that_ends_while_the_pool_stops_starts_no_timer(reactor: Reactor) -> None:
    pool = IdlingPool(reactor, "some name", 1)
    pool.run(int, 1)
    pool.prepare_stop()
    reactor.turn()
    assert not reactor.getDelayedCalls()
    pool.stop()


def test_errors(reactor: Reactor) -> None:
    pool = IdlingPool(reactor, "some name", 1)
    failed: list[Any] = []
    pool.run(int, "x").addErrback(failed.append)
    reactor.turn()
    assert failed[0].type is ValueError
    pool.prepare_stop()
    pool.stop()
