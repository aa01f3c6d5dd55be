"""Campaigns that are short enough to be run each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from .counter import Campaign, run


@pytest.mark.parametrize(
    "campaign",
    [
        Campaign(victims=("line",), faults=20),
        Campaign(victims=("host",), faults=3),
        Campaign(victims=("upstream",), faults=3),
    ],
    ids=lambda campaign: "-".join(campaign.victims),
)
def test_counter_is_never_off_by_one(tmp_path: Path, campaign: Campaign) -> None:
    result = run(campaign, tmp_path)
    assert result.counter == result.counted.commits > 0
    assert result.counted.in_doubt == 0
    assert result.violations == []
