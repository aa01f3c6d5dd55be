"""The programs, short enough to be run each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.postgresql.server import PostgreSQLServer
from tests.race.equalpair import Race

from . import counter, race


@pytest.mark.parametrize(
    ("client", "keep_history"),
    [("zeotwisted", True), ("zeotwisted", False), ("ZEO", True)],
    ids=["history", "history-free", "stock"],
)
def test_no_torn_snapshots(
    tmp_path: Path, postgresql: PostgreSQLServer, client: str, keep_history: bool
) -> None:
    run = Race(client=client, transactions=60, writers=2, readers=2)
    seen, _ = race.run(run, tmp_path, postgresql, keep_history=keep_history)
    assert seen.differences == 0
    assert seen.violations == []
    assert seen.comparisons > 20


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_counters_are_never_off_by_one(
    tmp_path: Path, own_server: PostgreSQLServer, own: bool
) -> None:
    campaign = counter.Campaign("any", faults=4, own=own, seed=1)
    result = counter.run(campaign, tmp_path, own_server)
    assert result.counters == result.expected
    assert result.total.commits > 0
    assert result.total.in_doubt == 0
    assert result.violations == []
