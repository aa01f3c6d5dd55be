"""A host that guesses is slowed down."""

from __future__ import annotations

from twisted.internet.task import Clock

from zeotwisted.access import Throttle
from zeotwisted.access.throttle import _FREE, _HOSTS, _INTERVAL, _LONGEST, _MEMORY


def test_first_failures_are_free() -> None:
    throttle = Throttle(Clock().seconds)
    for _ in range(_FREE - 1):
        throttle.failed("a")
        assert throttle.delay("a") == 0
    throttle.failed("a")
    assert throttle.delay("a") == _INTERVAL
    assert throttle.delay("b") == 0
    assert throttle.failures == _FREE


def test_attempts_at_the_same_time_wait_for_each_other() -> None:
    clock = Clock()
    throttle = Throttle(clock.seconds)
    for _ in range(_FREE):
        throttle.failed("a")
    delays = [throttle.delay("a") for _ in range(100)]
    waiting = [delay for delay in delays if delay is not None]
    assert waiting == [_INTERVAL * (1 + n) for n in range(len(waiting))]
    assert max(waiting) <= _LONGEST
    assert delays[len(waiting) :] == [None] * (100 - len(waiting))
    clock.advance(_LONGEST + _INTERVAL)
    assert throttle.delay("a") == 0


def test_a_host_that_stops_is_forgotten() -> None:
    clock = Clock()
    throttle = Throttle(clock.seconds)
    for _ in range(_FREE):
        throttle.failed("a")
    clock.advance(_MEMORY + 1)
    assert throttle.delay("a") == 0
    assert throttle.failed("a") == 1


def test_few_hosts_are_remembered() -> None:
    throttle = Throttle(Clock().seconds)
    for _ in range(_FREE):
        throttle.failed("first")
    for number in range(_HOSTS - 1):
        throttle.failed(str(number))
    assert throttle.delay("first") == _INTERVAL
    throttle.failed("one more")
    assert throttle.delay("first") == 0
