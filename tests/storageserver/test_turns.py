"""Letting one after the other in."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock

from zeotwisted.storageserver.connections.connection import ServerConnection
from zeotwisted.storageserver.connections.history import remote_history
from zeotwisted.storageserver.connections.iterators import Iterators
from zeotwisted.storageserver.connections.logins import Logins
from zeotwisted.storageserver.connections.registration import remote_register
from zeotwisted.storageserver.engine import Single
from zeotwisted.storageserver.limits import Limits
from zeotwisted.storageserver.options import ServerOptions
from zeotwisted.storageserver.turns import FairTurns, Turns

MANY = 20_000


def test_one_after_the_other() -> None:
    turns = Turns()
    first: Deferred[str] = Deferred()
    begun: list[str] = []
    one = turns.run(lambda: begun.append("first") or first)
    turns.run(begun.append, "second")
    assert begun == ["first"] and len(turns) == 1
    first.callback("done")
    assert begun == ["first", "second"] and len(turns) == 0
    assert one.result == "done"


def test_many_that_are_done_at_once() -> None:
    turns = Turns()
    first: Deferred[None] = Deferred()
    done: list[int] = []
    turns.run(lambda: first)
    for number in range(MANY):
        turns.run(lambda number=number: number).addCallback(done.append)
    first.callback(None)
    assert done == list(range(MANY))


def test_many_that_fail_at_once() -> None:
    turns = Turns()
    first: Deferred[None] = Deferred()
    failed: list[type[BaseException] | None] = []
    turns.run(lambda: first)
    for _ in range(MANY):
        turns.run(int, "x").addErrback(lambda failure: failed.append(failure.type))
    first.callback(None)
    assert failed == [ValueError] * MANY


def test_a_waiter_that_gives_up() -> None:
    turns = Turns()
    turns.acquire()
    second, third = turns.acquire(), turns.acquire()
    gave_up: list[BaseException] = []
    second.addErrback(lambda failure: gave_up.append(failure.value))
    second.cancel()
    turns.release()
    assert isinstance(gave_up[0], CancelledError)
    assert third.called


def test_who_has_no_turn_cannot_end_it() -> None:
    with pytest.raises(AssertionError):
        Turns().release()


# Fair turns.


class _Calls:
    """Calls that end when the test says so."""

    def __init__(self, most: int) -> None:
        self.turns = FairTurns(most)
        self.running: list[tuple[str, Deferred[Any]]] = []
        self.results: list[Any] = []

    def call(self, owner: str, number: int = 1) -> None:
        for _ in range(number):
            done = Deferred.fromCoroutine(self.turns.run(owner, self._begin, owner))
            done.addBoth(self.results.append)

    def _begin(self, owner: str) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.running.append((owner, done))
        return done

    def end(self) -> str:
        """End the call that began first; return its owner."""
        owner, done = self.running.pop(0)
        done.callback(owner)
        return owner


def test_owners_get_their_turns_in_a_circle() -> None:
    calls = _Calls(2)
    calls.call("greedy", 100)
    calls.call("modest", 2)
    calls.call("other", 2)
    assert len(calls.running) == 2
    assert len(calls.turns) == 102
    order = "".join(calls.end()[0] for _ in range(8))
    assert order == "gggmogmo"
    for _ in range(96):
        assert len(calls.running) <= 2
        calls.end()
    assert not calls.running and len(calls.turns) == 0
    assert len(calls.results) == 104


def test_an_owner_that_leaves() -> None:
    calls = _Calls(1)
    calls.call("gone", 100)
    calls.call("there")
    calls.turns.leave("gone")
    calls.turns.leave("nobody")
    assert calls.results == [FairTurns.LEFT] * 99
    calls.end()
    assert calls.end() == "there"


def test_fair_turns_after_a_failure() -> None:
    calls = _Calls(1)
    calls.call("one")
    calls.call("other")
    calls.running.pop(0)[1].errback(ZeroDivisionError())
    assert calls.results[0].type is ZeroDivisionError
    assert calls.end() == "other"


def test_many_fair_turns_that_end_at_once() -> None:
    turns = FairTurns(1)
    first: Deferred[None] = Deferred()
    done: list[int] = []
    Deferred.fromCoroutine(turns.run("a", lambda: first))
    for number in range(MANY):
        result = Deferred.fromCoroutine(turns.run("a", succeed, number))
        result.addCallback(done.append)
    first.callback(None)
    assert done == list(range(MANY))


class _Peer:
    label = "a client"
    number = 1
    host = "a host"
    is_extended = True
    encoding = b"M"

    def admit(self, kind: object, detail: str = "") -> bool:
        return True

    def registered(self) -> None:
        pass

    def drop(self, reason: str) -> None:
        pytest.fail(f"dropped: {reason}")


class _Served:
    """A storage whose first slow call takes its time."""

    read_only = False
    storage = None
    storage_id = "1"
    unusable = ""
    suspended = ""
    is_behind = False
    engine = Single(None)
    limits = Limits(ServerOptions(), Clock())

    def __init__(self) -> None:
        self.first: Deferred[None] = Deferred()
        self.calls = 0

    def register(self, connection: object) -> bytes:
        return bytes(8)

    def unregister(self, connection: object) -> None:
        pass

    def run_slow(self, client: object, waiting: int, function: Any, *args: Any) -> Any:
        return function(*args)

    def in_thread(self, function: Any, *args: Any) -> Any:
        self.calls += 1
        return self.first if self.calls == 1 else succeed("done")


def _waiting_calls(number: int) -> tuple[ServerConnection, _Served, list[Any]]:
    served = _Served()
    connection = ServerConnection(
        _Peer(),  # type: ignore[arg-type]
        {"1": served},  # type: ignore[dict-item]
        Logins(Clock()),
    )
    remote_register(connection, "1", False)
    answers: list[Any] = []
    for _ in range(number):
        remote_history(connection, bytes(8)).addCallback(answers.append)
    return connection, served, answers


def test_slow_calls_of_a_client_are_all_answered() -> None:
    _, served, answers = _waiting_calls(900)
    served.first.callback(None)
    assert len(answers) == served.calls == 900


def test_a_client_that_leaves_with_slow_calls_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    connection, served, answers = _waiting_calls(900)
    closed: list[bool] = []
    monkeypatch.setattr(Iterators, "close", lambda self: closed.append(True))
    released = Deferred.fromCoroutine(connection.lost())
    assert not closed
    served.first.callback(None)
    assert closed == [True] and released.called
    assert served.calls == 1 and len(answers) == 900
