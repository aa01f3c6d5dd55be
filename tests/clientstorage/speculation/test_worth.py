"""How much a client asks for: what pays, and no more than that."""

from __future__ import annotations

import random

import pytest

from zeotwisted.clientstorage.speculation.worth import Worth

MIB = 2**20
MS = 0.001

#: What a record costs at both ends (seconds), less than `Worth` supposes; and a load without its
#: round trip.
_EACH = 25e-6
_LOAD = 0.1 * MS


def worth(round_trip: float, cache_size: int = 20 * MIB) -> Worth:
    made = Worth(cache_size)
    made.measured(round_trip)
    return made


def test_the_first_load_measures() -> None:
    made = Worth(MIB)
    assert made.plan() is None
    made.measured(MS)
    assert made.plan() is not None


def test_a_server_that_is_near() -> None:
    made = worth(0.05 * MS)
    for _ in range(1000):
        assert made.plan() is None
        made.measured(0.1 * MS)


def test_a_single_slow_answer_does_not_count() -> None:
    made = worth(0.1 * MS)
    for _ in range(10):
        made.measured(50 * MS)
    assert made.plan() is None
    # The server has moved away.
    for _ in range(200):
        made.measured(MS)
    assert made.plan() is not None


def test_what_is_always_used_is_asked_for_more_and_more() -> None:
    made = worth(MS)
    asked = []
    for _ in range(10):
        plan = made.plan()
        assert plan is not None
        asked.append(plan.records)
        made.came(plan.records, plan.records * 20, 100)
        for _ in range(plan.records):
            made.used(made.credit(100, 20))
    assert asked == sorted(asked)
    assert asked[-1] == 200


def test_the_nearer_the_more_probable() -> None:
    least = [plan.least for plan in (worth(n * MS).plan() for n in (0.2, 1, 5)) if plan]
    assert len(least) == 3
    assert least == sorted(least, reverse=True)
    assert least[0] > 150


def test_a_small_cache_has_little_room() -> None:
    plan = worth(MS, 64 * 1024).plan()
    assert plan is not None
    assert plan.size <= 64 * 1024 // 16


def loads(made: Worth, count: int, share: float, size: int, round_trip: float) -> tuple[float, ...]:
    """Load records, of which some come ahead that are used with a probability.

    Return the time and the bytes, and what both would be if nothing came ahead.
    """
    choose = random.Random(1)
    time = received = alone_time = alone_received = 0.0
    ahead = 0
    for _ in range(count):
        alone_time += _LOAD + round_trip
        alone_received += size
        if ahead:
            ahead -= 1
            made.used(made.credit(size, size))
            continue
        plan = made.plan()
        time += _LOAD + round_trip
        received += size
        if plan is None:
            made.measured(_LOAD + round_trip)
            continue
        came = min(plan.records, plan.size // size) if plan.least <= 1000 * share else 0
        made.came(came, came * size, size)
        made.measured(_LOAD + round_trip + came * _EACH, came)
        time += came * _EACH
        received += came * size
        ahead = sum(choose.random() < share for _ in range(came))
    return time, received, alone_time, alone_received


@pytest.mark.parametrize("round_trip", [0.2 * MS, MS, 5 * MS])
@pytest.mark.parametrize("size", [100, 2000, 20_000])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.2, 0.5, 0.9, 1.0])
def test_it_never_costs_much(share: float, size: int, round_trip: float) -> None:
    """Whatever comes, and whatever of it is used, and however wrong the server's guesses are."""
    made = worth(_LOAD + round_trip)
    time, received, alone_time, alone_received = loads(made, 5000, share, size, round_trip)
    assert time <= 1.05 * alone_time
    assert received <= 2 * alone_received
    if share >= 0.5 and size == 100:
        assert time < 0.4 * alone_time


@pytest.mark.parametrize("round_trip", [0.2 * MS, MS, 5 * MS])
def test_what_the_server_says_is_probable_and_is_not(round_trip: float) -> None:
    made = worth(_LOAD + round_trip)
    time = alone = 0.0
    for _ in range(3000):
        plan = made.plan()
        time += _LOAD + round_trip
        alone += _LOAD + round_trip
        made.measured(_LOAD + round_trip)
        if plan is not None:
            came = min(plan.records, plan.size // 100)
            made.came(came, came * 100, 100)
            time += came * _EACH
    assert time <= 1.05 * alone


def test_it_begins_again_when_it_pays_again() -> None:
    made = worth(MS)
    loads(made, 3000, 0.0, 100, MS)
    time, _, alone, _ = loads(made, 3000, 0.9, 100, MS)
    assert time < 0.3 * alone


def test_where_nothing_comes_most_loads_do_not_ask() -> None:
    near, far = worth(0.2 * MS), worth(5 * MS)
    asked = {near: 0, far: 0}
    for made in asked:
        for _ in range(2000):
            if made.plan() is not None:
                asked[made] += 1
                made.came(0, 0, 100)
    assert asked[near] < 800
    assert asked[far] == 2000


def test_a_thin_line_or_a_slow_server() -> None:
    """Each record takes a third of a round trip, so that only probable ones are worth it."""
    made = worth(MS)
    for _ in range(50):
        plan = made.plan()
        assert plan is not None
        made.came(plan.records, plan.records * 20, 100)
        for _ in range(plan.records):
            made.used(made.credit(100, 20))
        made.measured(MS, 0)
        made.measured(MS + plan.records * MS / 3, plan.records)
    plan = made.plan()
    assert plan is not None
    assert plan.least > 350
