"""A function is called after each period."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from zeotwisted.reactor import Periodic


def test_calls() -> None:
    clock = Clock()
    times: list[float] = []
    task = Periodic(clock, 2.0, lambda: times.append(clock.seconds()))
    task.start()
    task.start()
    clock.pump([1.0] * 5)
    assert times == [2.0, 4.0]
    task.stop()
    task.stop()
    clock.pump([1.0] * 5)
    assert times == [2.0, 4.0]
    assert not clock.getDelayedCalls()
    task.start()
    clock.advance(2)
    assert len(times) == 3


@pytest.mark.filterwarnings("ignore")
def test_a_failure_is_not_the_end() -> None:
    clock = Clock()
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise OSError("not now")

    Periodic(clock, 1.0, fail).start()
    clock.pump([1.0] * 3)
    assert len(calls) == 3
