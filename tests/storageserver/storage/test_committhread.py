"""The thread of a storage's commits."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from zeotwisted.storageserver.storage.committhread import CommitThread


class Reactor:
    """Collects what threads ask for."""

    def __init__(self) -> None:
        self._calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def call_from_thread(self, function: Callable[..., Any], *args: Any) -> None:
        self._calls.append((function, args))

    def turn(self) -> None:
        while self._calls:
            function, args = self._calls.pop(0)
            function(*args)


def test_work_is_done_in_order_and_told_in_order() -> None:
    reactor = Reactor()
    thread = CommitThread("commits", reactor.call_from_thread)
    done: list[Any] = []
    told: list[Any] = []

    def work(number: int) -> int:
        done.append((number, threading.current_thread().name))
        return number

    for number in range(20):
        thread.run(work, number).addCallback(told.append)
    thread.stop()
    assert done == [(number, "commits") for number in range(20)]
    assert told == [], "this is the reactor's business"
    reactor.turn()
    assert told == list(range(20))


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit("no")])
def test_exception_is_told_and_the_thread_goes_on(error: BaseException) -> None:
    reactor = Reactor()
    thread = CommitThread("commits", reactor.call_from_thread)

    def fail() -> None:
        raise error

    failures: list[Any] = []
    results: list[Any] = []
    thread.run(fail).addErrback(failures.append)
    thread.run(lambda: "well").addCallback(results.append)
    thread.stop()
    reactor.turn()
    assert [failure.value for failure in failures] == [error]
    assert results == ["well"]


def test_nothing_is_kept() -> None:
    class Thing:
        pass

    reactor = Reactor()
    thread = CommitThread("commits", reactor.call_from_thread)
    reached = threading.Event()

    def first() -> None:
        thing = Thing()
        things.append(weakref.ref(thing))
        done: Deferred[Any] = thread.run(lambda given: given, thing)
        done.addCallback(lambda given: None)
        thread.run(reached.set)

    things: list[Any] = []
    first()
    assert reached.wait(10)
    thread.stop()
    reactor.turn()
    gc.collect()
    assert things[0]() is None


def test_thread_that_had_nothing_to_do_can_be_stopped() -> None:
    CommitThread("commits", Reactor().call_from_thread).stop()
