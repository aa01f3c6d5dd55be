"""The race, short enough to be run each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from .equalpair import Race, run

TRANSACTIONS = 400


@pytest.mark.parametrize(
    ("client", "server"),
    [("zeotwisted", "zeotwisted"), ("zeotwisted", "ZEO"), ("ZEO", "zeotwisted")],
)
def test_no_torn_snapshots(tmp_path: Path, client: str, server: str) -> None:
    seen = run(Race(client, server, TRANSACTIONS, readers=2), tmp_path, timeout=120)
    assert seen.differences == 0
    assert seen.violations == []
    # There was something to see.
    assert seen.comparisons > TRANSACTIONS / 10
    assert seen.commits > TRANSACTIONS


@pytest.mark.parametrize("cache", [False, True], ids=["memory", "file"])
def test_no_torn_snapshots_in_bad_weather(tmp_path: Path, cache: bool) -> None:
    """What was missed is learned, and as a whole."""
    race = Race(transactions=120, readers=2, drops=0.4, cache=cache)
    seen = run(race, tmp_path, timeout=120)
    assert seen.differences == 0
    assert seen.violations == []
    assert seen.comparisons > 10
