"""Campaigns that are short enough to be run each time."""

from __future__ import annotations

from pathlib import Path

import pytest

from .counter import Campaign, run


@pytest.mark.parametrize(
    "campaign",
    [
        Campaign(faults=20),
        Campaign(faults=20, protocol=5),
        Campaign(faults=20, protocol=5, record=False),
        Campaign(faults=20, server="ZEO"),
        Campaign(faults=20, storage="mappingstorage"),
        Campaign(faults=20, storage="demostorage"),
        Campaign(faults=2, fault="kill"),
    ],
    ids=lambda campaign: (
        f"{campaign.server}-{campaign.protocol}-{campaign.storage}-{campaign.fault}"
        + ("" if campaign.record else "-unrecorded")
    ),
)
def test_counter_is_never_off_by_one(tmp_path: Path, campaign: Campaign) -> None:
    result = run(campaign, tmp_path)
    assert result.counter == result.counted.commits > 0
    assert result.counted.in_doubt == 0
    assert result.violations == []
