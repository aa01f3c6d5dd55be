"""Runs a coroutine in a reactor of its own, in this thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from threading import Thread
from threading import enumerate as threads
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

__all__ = ["REACTORS", "in_thread", "run", "sleep"]

REACTORS = (EPollReactor, SelectReactor)

_TIMEOUT = 60


def run(
    function: Callable[[Any], Coroutine[Any, Any, Any]], make_reactor: Any = EPollReactor
) -> None:
    """Run ``function(reactor)`` to its end; check that it leaves nothing in the reactor."""
    reactor = make_reactor()
    reactor._registerAsIOThread = False
    own = set(reactor.getReaders())
    outcome: list[Any] = []

    def start() -> None:
        done = Deferred.fromCoroutine(function(reactor))
        done.addTimeout(_TIMEOUT, reactor)
        done.addBoth(ended)

    def ended(result: Any) -> None:
        outcome.append(result)
        # What is beside the outcome has its turn.
        reactor.callLater(0, look)

    def look() -> None:
        outcome.append((set(reactor.getReaders()) - own, reactor.getWriters()))
        outcome.append([call for call in reactor.getDelayedCalls() if call.active()])
        reactor.stop()

    reactor.callWhenRunning(start)
    before = set(threads())
    reactor.run(installSignalHandlers=False)
    # Those that were connecting; what they made is closed in the reactor.
    for thread in set(threads()) - before:
        thread.join(_TIMEOUT)
    reactor.runUntilCurrent()
    for reader in own:
        reader.connectionLost(None)
    result, descriptors, calls = outcome
    if isinstance(result, Failure):
        result.raiseException()
    assert descriptors == (set(), [])
    assert calls == []


def sleep(reactor: Any, seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)


def in_thread(reactor: Any, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """Return the result of a function that blocks."""
    done: Deferred[Any] = Deferred()

    def call() -> None:
        result: Any
        try:
            result = function(*args)
        except Exception:
            result = Failure()
        reactor.callFromThread(done.callback, result)

    Thread(target=call, daemon=True).start()
    return done
