"""What the benchmarks say while they run."""

from __future__ import annotations

from io import StringIO

from benchmarks.program import Progress


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def said(stream: StringIO, durations: list[float], skipped: int = 0) -> str:
    now = [0.0]
    progress = Progress(len(durations) + skipped, stream, lambda: now[0])
    for number in range(skipped):
        assert number < skipped
        progress.skip()
    for number, seconds in enumerate(durations, 1):
        progress.begin(f"measure {number}")
        now[0] += seconds
    progress.end()
    return stream.getvalue()


def test_each_run_has_a_line_where_there_is_no_terminal() -> None:
    assert said(StringIO(), [10.0, 20.0, 5.0]).splitlines() == [
        "run 1/3, time left not known yet: measure 1",
        "run 2/3, about 20 s left: measure 2",
        "run 3/3, about 15 s left: measure 3",
        "3 runs are done",
    ]


def test_what_is_left_out_takes_no_time() -> None:
    assert said(StringIO(), [10.0, 1.0], skipped=2).splitlines() == [
        "run 3/4, time left not known yet: measure 1",
        "run 4/4, about 10 s left: measure 2",
        "2 runs are done",
    ]


def test_long_times() -> None:
    lines = said(StringIO(), [600.0] + [0.0] * 3 + [1.0] * 10).splitlines()
    assert lines[1].startswith("run 2/14, about 2 h 10 min left")
    assert lines[4].startswith("run 5/14, about 25 min left")


def test_one_line_on_a_terminal() -> None:
    text = said(Terminal(), [1.0, 1.0])
    assert "\n" not in text
    assert text.endswith("\r\x1b[K")
