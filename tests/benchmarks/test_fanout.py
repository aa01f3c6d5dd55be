"""The program that measures what it takes to tell clients of a commit."""

from __future__ import annotations

from pathlib import Path

from benchmarks.fanout import measure


def test_what_clients_are_sent(tmp_path: Path) -> None:
    figures = measure("zeotwisted", 3, objects=[1, 15], commits=2, folder=tmp_path, warm_up=1)
    # An oid takes ten bytes, and all messages have arrived when the crowd has heard of the commit.
    assert figures[15].size - figures[1].size == 14 * 10
    for each in figures.values():
        assert 0 < each.alone < 1 and 0 < each.told < 1 and 0 <= each.application < 1
