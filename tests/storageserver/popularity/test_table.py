"""The scores of objects, in bounded memory."""

from __future__ import annotations

import random

from zeotwisted.protocol import numbers
from zeotwisted.storageserver.popularity.table import MOST_SLOTS, Budget, Table, ranked


def in_order(table: Table) -> list[int]:
    return list(numbers(ranked(*table.copy())))


def test_the_highest_score_is_first() -> None:
    table = Table(Budget(MOST_SLOTS))
    table.add([5, 6, 7, 5], [1.0, 4.0, 2.0, 7.0])
    assert in_order(table) == [5, 6, 7]
    assert len(table) == 3


def test_the_root_object_has_number_zero() -> None:
    table = Table(Budget(MOST_SLOTS))
    assert in_order(table) == []
    table.add([0], [0.001])
    assert (in_order(table), len(table)) == ([0], 1)


def test_it_grows_and_keeps_the_scores() -> None:
    budget = Budget(MOST_SLOTS)
    table = Table(budget)
    count = 20_000
    for number in range(count):
        table.add([number], [2.0**-4 if number % 100 else 1.0])
    assert len(table) == count
    assert set(in_order(table)[: count // 100]) == set(range(0, count, 100))
    table.give_back()
    assert (len(table), budget.left) == (0, MOST_SLOTS)
    table.add([1], [1.0])
    assert in_order(table) == []


def test_random_oids_share_few_slots() -> None:
    table = Table(Budget(MOST_SLOTS))
    choose = random.Random(1)
    for _ in range(500):
        table.add([choose.randrange(2**60) for _ in range(100)], [1.0] * 100)
    assert len(table) > 0.8 * 50_000


def test_what_is_often_used_stays_when_one_goes_through_everything() -> None:
    table = Table(Budget(MOST_SLOTS))
    popular = range(1, 1001)
    for _ in range(8):
        table.add(popular, [1 / 128] * 1000)
    # All other objects of a large database, a hundred for each slot.
    for start in range(10_000, 1_000_000, 10_000):
        table.add(range(start, start + 10_000), [1 / start] * 10_000)
    known = set(in_order(table))
    assert len(known.intersection(popular)) > 950
    assert len(table) <= MOST_SLOTS


def test_what_is_not_used_any_more_gives_way() -> None:
    table = Table(Budget(2**10))
    table.add([1], [1.0])
    rival = 1 + 2**10
    table.add([rival] * 3, [0.4] * 3)
    assert in_order(table) == [rival]


def test_without_slots_it_counts_nothing() -> None:
    budget = Budget(2**10 + 5)
    tables = [Table(budget) for _ in range(3)]
    for table in tables:
        table.add(range(2000), [1.0] * 2000)
    assert [len(table) > 0 for table in tables] == [True, False, False]
    assert len(tables[0]) <= 2**10
    assert budget.left == 5


def test_scores_can_be_divided() -> None:
    table = Table(Budget(MOST_SLOTS))
    table.add([1, 2], [1e20, 1e-25])
    table.shrink(1e25)
    # What is too small for a number is not known any more.
    assert in_order(table) == [1]
    assert len(table) == 1
