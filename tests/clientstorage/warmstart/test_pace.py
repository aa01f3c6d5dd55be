"""How fast records are brought in."""

from __future__ import annotations

import pytest

from zeotwisted.clientstorage.warmstart.pace import Pace

MS = 0.001


def test_few_at_first() -> None:
    assert Pace().records == 30


@pytest.mark.parametrize(("size", "most"), [(100, 50), (500, 35), (5000, 4), (10**6, 1)])
def test_the_longer_the_records_the_fewer(size: int, most: int) -> None:
    pace = Pace()
    for _ in range(20):
        pace.came(pace.records, pace.records * size, MS, True)
    assert 1 <= pace.records <= most


def test_answers_without_records() -> None:
    pace = Pace()
    assert pace.came(0, 0, 2 * MS, False) == 0.0
    pace.came(5, 0, 2 * MS, False)
    assert pace.records >= 20


def test_far_away_more_at_a_time() -> None:
    near, far, farther = Pace(), Pace(), Pace()
    for pace, seconds in ((near, MS), (far, 5 * MS), (farther, 1.0)):
        for _ in range(20):
            pace.came(pace.records, pace.records * 100, seconds, False)
    assert [near.records, far.records, farther.records] == [50, 250, 400]


def test_half_of_the_time_is_left_while_the_application_waits() -> None:
    pace = Pace()
    assert pace.came(20_000, 10**6, 2 * MS, True) == 2 * MS
    assert pace.came(20, 2000, 7 * MS, True) == 7 * MS
    assert pace.came(20, 2000, 100.0, True) == 1.0
    assert pace.came(20, 2000, 2 * MS, False) == 0.0


def test_what_is_used_most_comes_faster() -> None:
    pace = Pace()
    assert pace.came(100, 10_000, 2 * MS, True) == 0.0
    assert pace.came(14_900, 10**6, 2 * MS, True) == 1.5 * MS


def test_more_is_left_where_loads_are_fast() -> None:
    pace = Pace()
    assert pace.came(20, 2000, 0.5 * MS, True) == 1.5 * MS
    assert pace.came(20, 2000, 0.2 * MS, True) == 0.0
    assert pace.came(20, 2000, 5 * MS, False) == 15 * MS
    assert pace.came(20, 2000, 5.0, False) == 1.0
