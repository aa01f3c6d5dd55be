"""Progress: a line that changes on a terminal, and few lines in a log."""

from __future__ import annotations

import io

import pytest

from zeotwisted.backup import readable
from zeotwisted.commands.progress import Progress
from zeotwisted.commands.shown import duration, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_on_a_terminal() -> None:
    stream, clock = Terminal(), Time()
    with Progress("verifying", "records", 1000, stream=stream, clock=clock) as progress:
        clock.now += 10
        progress.update(250)
        assert stream.getvalue() == "\rverifying: 25 %, 250 records, 25 records/s, 30 s left"
        progress.update(260)
        assert "260" not in stream.getvalue(), "it is too soon"
        clock.now += 10
        progress.update(1000)
        line = stream.getvalue().rpartition("\r")[2]
        assert line.startswith("verifying: 100 %, 1,000 records, 50 records/s ")
        assert "left" not in line
    assert stream.getvalue().endswith(" \r")
    with Progress("x", "", stream=stream, clock=clock):
        pass
    assert stream.getvalue().endswith(" \r"), "nothing is cleared twice"


def test_in_a_log() -> None:
    stream, clock = io.StringIO(), Time()
    with Progress("copying", "", 2048, readable, stream=stream, clock=clock) as progress:
        for _ in range(130):
            clock.now += 1
            progress.update(1024, "a note")
    assert stream.getvalue().splitlines() == ["copying: 50 %, 60 s left, a note"] * 0 + [
        "copying: 50 %, 1:00 left, a note",
        "copying: 50 %, 2:00 left, a note",
    ]


def test_short_work_leaves_nothing_in_a_log() -> None:
    stream = io.StringIO()
    with Progress("copying", "records", stream=stream) as progress:
        progress.update(5)
    assert stream.getvalue() == ""


def test_without_a_total() -> None:
    stream, clock = Terminal(), Time()
    with Progress("packing", "", stream=stream, clock=clock) as progress:
        progress.update(0, "looking for garbage")
        assert stream.getvalue() == "\rpacking: looking for garbage"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00 s"), (9.994, "9.99 s"), (10.4, "10 s"), (60, "1:00"), (7384, "2:03:04")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KB"), (3 * 2**40, "3.0 TB")]
    + [(2**60, "1048576.0 TB")],
)
def test_sizes(count: int, text: str) -> None:
    assert readable(count) == text


def test_tables() -> None:
    assert table(("N", "NAME"), [(5, "a\x1b[2J"), (1000, "b")]) == (
        "   N  NAME\n   5  a?[2J\n1000  b"
    )
