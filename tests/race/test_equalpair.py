"""The race, short enough to be run each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from .equalpair import Race, run

TRANSACTIONS = 600


@pytest.mark.parametrize(
    ("client", "server"),
    [("zeotwisted", "zeotwisted"), ("zeotwisted", "ZEO"), ("ZEO", "zeotwisted")],
)
def test_no_torn_snapshots(tmp_path: Path, client: str, server: str) -> None:
    seen = run(Race(client, server, TRANSACTIONS, readers=2), tmp_path, timeout=120)
    assert seen.differences == 0
    # There was something to see.
    assert seen.comparisons > TRANSACTIONS / 10
    assert seen.commits > TRANSACTIONS


def test_no_torn_snapshots_when_connections_are_dropped(tmp_path: Path) -> None:
    """What was missed is learned, and as a whole."""
    seen = run(Race(transactions=200, readers=2, drops=0.5), tmp_path, timeout=120)
    assert seen.differences == 0
    assert seen.comparisons > 20
