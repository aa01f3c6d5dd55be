"""While there is no connection, the log hears of it now and then, not of each attempt."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from zeotwisted.clientstorage.connection.outage import _REASONS, Outage


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    # Monotonic clocks begin anywhere.
    clock.advance(1e6)
    return clock


def _hours(clock: Clock, outage: Outage, hours: float) -> list[str]:
    """Return the ends of the lines, with an attempt every two seconds that fails for one reason."""
    lines = []
    for _ in range(round(hours * 1800)):
        end = outage.failed("refused")
        if end is not None:
            lines.append(end)
        clock.advance(2)
    return lines


def test_ever_fewer_lines(clock: Clock) -> None:
    lines = _hours(clock, Outage(clock), 12)
    assert lines[:3] == ["", " (31 attempts in 1 min)", " (91 attempts in 3 min)"]
    # At 0, 1, 3, 7, 15, 31, 63 minutes, then each hour.
    assert len(lines) == 7 + 10
    assert lines[-1] == " (19891 attempts in 11 h 3 min)"


def test_a_new_reason_is_told_at_once(clock: Clock) -> None:
    outage = Outage(clock)
    _hours(clock, outage, 0.01)
    assert outage.failed("no route") == ""
    assert outage.failed("refused") is None
    assert outage.failed("no route") is None


def test_a_server_that_finds_new_reasons_is_bounded(clock: Clock) -> None:
    outage = Outage(clock)
    lines = [outage.failed(f"reason {number}") for number in range(1000)]
    assert sum(line is not None for line in lines) == _REASONS
    assert len(outage._told) == _REASONS
    clock.advance(60)
    assert outage.failed("the last reason") == " (1001 attempts in 1 min)"
    assert outage.failed("one more") == ""


def test_after_a_connection_that_lasted_it_begins_anew(clock: Clock) -> None:
    outage = Outage(clock)
    _hours(clock, outage, 5)
    outage.over()
    assert _hours(clock, outage, 0.05) == ["", " (31 attempts in 1 min)"]


def test_nothing_is_pending(clock: Clock) -> None:
    outage = Outage(clock)
    outage.failed("refused")
    assert not clock.getDelayedCalls()
