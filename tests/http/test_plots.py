"""The curves of the last minutes."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from ZODB.MappingStorage import MappingStorage

from zeotwisted.http.history import History, Point
from zeotwisted.http.plots import HEIGHT, WIDTH, plots
from zeotwisted.http.words import amount, duration, short
from zeotwisted.storageserver import StorageServer


def drawn(key: str, *points: Point, now: float = 300.0) -> list[list[tuple[float, float]]]:
    """Return the lines of a plot, as pairs of numbers."""
    (plot,) = [each for each in plots(points, now) if each.key == key]
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.split())]
        for line in plot.lines
    ]


def test_a_curve_moves_to_the_left() -> None:
    point = Point(200.0, 5.0, 0.0, None, None)
    ((early, _), *_), ((late, _), *_) = (
        drawn("loads", point, now=now)[0] for now in (200.0, 350.0)
    )
    assert (early, late) == (WIDTH, WIDTH / 2)
    assert drawn("loads", point, now=600.0) == [], "it is over"


def test_high_and_low() -> None:
    points = [Point(100.0 + step, float(step), 0.0, None, None) for step in (0, 5, 10)]
    ((_, low), (_, middle), (_, high)) = drawn("loads", *points)[0]
    assert low == HEIGHT > middle > high == 4.0
    assert middle == (low + high) / 2


def test_a_slow_call_does_not_hide_the_others() -> None:
    points = [
        Point(100.0 + n, 0.0, 0.0, seconds, None) for n, seconds in enumerate((1e-4, 1e-3, 5))
    ]
    ((_, low), (_, middle), (_, high)) = drawn("load-time", *points)[0]
    assert HEIGHT - 4 > low > middle + 5 and middle > high + 5
    assert drawn("load-time", Point(1.0, 0.0, 0.0, 1e-9, None))[0][0][1] == HEIGHT


def test_where_nothing_was_called_there_is_a_gap() -> None:
    seconds = (1e-3, 1e-3, None, 1e-3, 1e-3)
    points = [Point(100.0 + n, 0.0, 0.0, each, None) for n, each in enumerate(seconds)]
    assert [len(line) for line in drawn("load-time", *points)] == [2, 2]
    assert drawn("commit-time", *points) == []


def test_rates_and_latencies_of_what_was_counted() -> None:
    clock = Clock()
    server = StorageServer(clock, {"a": MappingStorage(), "b": MappingStorage()})
    history = History(server, clock)
    calls = server.figures.calls

    class Served:
        """Has the counts of a storage."""

        def __init__(self) -> None:
            self.stats = type("Stats", (), {"loads": 0, "commits": 0})()

    server.served.update(a=Served(), b=Served())  # type: ignore[arg-type]
    history.start()
    server.served["a"].stats.loads += 20
    server.served["b"].stats.loads += 200
    for _ in range(100):
        calls["loadBefore"].seconds.add(0.002)
    clock.advance(2)
    (point,) = history.points({"a"})
    assert (point.loads, point.commits) == (10, 0)
    assert history.points({"a", "b"})[0].loads == 110
    assert 0.001 < (point.load_seconds or 0) <= 0.0025
    assert point.commit_seconds is None
    clock.pump([2.0] * 400)
    assert len(history.points({"a"})) == 150, "no more than five minutes"
    history.stop()
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1536, "1.5 KB"), (2**30, "1 GB"), (10**18, "888 PB")],
)
def test_sizes(size: int, text: str) -> None:
    assert amount(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (119.0, "119 s"), (121.0, "2 min"), (7300.0, "2 h"), (200000.0, "2 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5e-5, "25 µs"), (0.0031, "3.1 ms"), (12.0, "12 s")]
)
def test_short_durations(seconds: float, text: str) -> None:
    assert short(seconds) == text
