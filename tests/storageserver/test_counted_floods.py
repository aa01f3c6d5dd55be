"""Rate-limited log lines: the first few of a kind and host, then one that counts the others."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from zeotwisted.storageserver.floods import _HOSTS, Floods, Kind


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def floods(clock: Clock) -> Floods:
    return Floods(clock)


@pytest.fixture
def lines() -> list[str]:
    found: list[str] = []

    def observe(event: LogEvent) -> None:
        found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found  # type: ignore[misc]
    globalLogPublisher.removeObserver(observe)


def _admitted(floods: Floods, kind: Kind, host: str, number: int) -> int:
    return sum(floods.admit(kind, host) for _ in range(number))


def test_first_lines_are_written_and_the_others_counted(
    clock: Clock, floods: Floods, lines: list[str]
) -> None:
    assert _admitted(floods, Kind.PROBE, "192.0.2.1", 2000) == Kind.PROBE.limit
    assert lines == []
    clock.advance(60)
    assert lines == [
        f"{2000 - Kind.PROBE.limit} more log lines about connections that ended before they "
        "registered for a storage were left out in the last minute; the first was about 192.0.2.1"
    ]
    assert not clock.getDelayedCalls()


def test_kinds_and_hosts_are_counted_apart(floods: Floods) -> None:
    _admitted(floods, Kind.PROBE, "192.0.2.1", 2000)
    assert floods.admit(Kind.PROBE, "192.0.2.2")
    assert floods.admit(Kind.PACK, "192.0.2.1")


def test_each_minute_begins_anew(clock: Clock, floods: Floods, lines: list[str]) -> None:
    _admitted(floods, Kind.PROBE, "192.0.2.1", 20)
    clock.advance(60)
    assert _admitted(floods, Kind.PROBE, "192.0.2.1", 20) == Kind.PROBE.limit
    clock.advance(60)
    clock.advance(600)
    assert len(lines) == 2


def test_nothing_is_pending_while_nothing_is_left_out(clock: Clock, floods: Floods) -> None:
    assert _admitted(floods, Kind.PROBE, "192.0.2.1", Kind.PROBE.limit) == Kind.PROBE.limit
    assert not clock.getDelayedCalls()


def test_close_says_it_at_once(clock: Clock, floods: Floods, lines: list[str]) -> None:
    _admitted(floods, Kind.PROBE, "192.0.2.1", 20)
    floods.close()
    assert len(lines) == 1
    assert not clock.getDelayedCalls()
    floods.close()
    assert len(lines) == 1


def test_a_late_reactor(clock: Clock, floods: Floods, lines: list[str]) -> None:
    _admitted(floods, Kind.PROBE, "192.0.2.1", 20)
    (timer,) = clock.getDelayedCalls()
    clock.rightNow = 100.0
    assert floods.admit(Kind.PROBE, "192.0.2.1")
    assert timer.cancelled
    assert len(lines) == 1


def test_many_hosts_are_bounded_together(clock: Clock, floods: Floods, lines: list[str]) -> None:
    hosts = 10_000
    admitted = sum(floods.admit(Kind.PROBE, f"2001:db8::{host:x}") for host in range(hosts))
    assert admitted == Kind.PROBE.limit * _HOSTS
    assert len(floods._written) == admitted
    clock.advance(60)
    (line,) = lines
    assert line.startswith(f"{hosts - admitted} more log lines")
