"""What is shown of a long backup."""

from __future__ import annotations

import io

from zeotwisted.backup import Progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_terminal_has_a_line_with_rate_and_time_left() -> None:
    stream, clock = _Terminal(), _Clock()
    progress = Progress("backed up", stream, clock)
    clock.now += 10
    progress.update(50_000_000, 1234, 0.25)
    assert stream.getvalue() == ("\rbacked up 1234 transactions, 50.0 MB, 5.0 MB/s, 25%, 30 s left")
    clock.now += 0.1
    progress.update(50_000_001, 1235, 0.25)
    clock.now += 3600
    progress.update(60_000_000, 2000, 0.5)
    assert stream.getvalue().count("\r") == 2
    assert stream.getvalue().rstrip().endswith("50%, 1 h 00 min left")
    progress.close()
    assert stream.getvalue().endswith(" \r")


def test_a_log_has_few_lines() -> None:
    stream, clock = io.StringIO(), _Clock()
    progress = Progress("backed up", stream, clock)
    for _ in range(130):
        clock.now += 1
        progress.update(1000, 1, None)
    progress.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0] == "backed up 1 transactions, 1.0 KB, 17 bytes/s"
