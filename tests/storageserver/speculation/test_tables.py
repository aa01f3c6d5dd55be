"""The tables in which guesses are kept: rates, successors, what was sent, changes, time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ZODB.utils import p64

from tests.ordering.test_readahead_rules import record
from zeotwisted.storageserver.speculation.allowance import Allowance
from zeotwisted.storageserver.speculation.changes import Changes
from zeotwisted.storageserver.speculation.rates import Rates
from zeotwisted.storageserver.speculation.references import references
from zeotwisted.storageserver.speculation.sent import Sent
from zeotwisted.storageserver.speculation.successors import Successors
from zeotwisted.storageserver.speculation.trail import Node, Trail

# Trails.


@pytest.mark.parametrize("same", [True, False])
def test_a_trail_is_bounded(same: bool) -> None:
    """Many records may refer to one object, as to their parent."""
    trail = Trail(Rates())
    for number in range(5000):
        parent = 1 if same else number
        trail.remember(Node(references(record([p64(parent)])), None, 0))
    assert len(trail._recent) <= 1024 and len(trail._referring) <= 1024


# Rates.


def happen(rates: Rates, kind: str, *outcomes: bool) -> None:
    for outcome in outcomes:
        rates.chance(kind)
        if outcome:
            rates.came_true(kind)


def test_what_is_not_known() -> None:
    assert Rates().rate("kind") == 0.5
    assert Rates(Rates()).rate("kind", 0.1) == 0.1


def test_rates_are_learned_and_forgotten() -> None:
    rates = Rates()
    happen(rates, "kind", *[True] * 100)
    assert rates.rate("kind") > 0.95
    happen(rates, "kind", *[False] * 100)
    assert rates.rate("kind") < 0.1
    assert rates.rate("another") == 0.5


def test_a_client_begins_with_what_others_have_learned() -> None:
    shared = Rates()
    happen(Rates(shared), "kind", *[True] * 20)
    client = Rates(shared)
    assert client.rate("kind") > 0.9
    happen(client, "kind", *[False] * 8)
    # It goes by what it has seen itself, also where others go on as before.
    happen(Rates(shared), "kind", *[True] * 20)
    assert client.rate("kind") < 0.3


@given(st.lists(st.tuples(st.integers(0, 3000), st.booleans(), st.floats(0, 3)), max_size=200))
def test_a_rate_is_a_probability(events: list[tuple[int, bool, float]]) -> None:
    rates = Rates(Rates())
    for kind, is_chance, part in events:
        if is_chance:
            rates.chance(kind)
        else:
            rates.came_true(kind, part)
        assert 0 <= rates.rate(kind) <= 1


def test_kinds_are_limited() -> None:
    rates = Rates()
    for kind in range(2500):
        happen(rates, str(kind), True)
    assert rates.rate("0") == 0.5
    assert rates.rate("2499") > 0.5


# Successors.


def test_successors() -> None:
    successors = Successors()
    assert successors.after(p64(1)) is None
    for count in (1, 2, 3, 3):
        successors.note(p64(1), p64(2))
        assert successors.after(p64(1)) == (p64(2), count)
    # Exceptions do not count at once.
    for count in (2, 1):
        successors.note(p64(1), p64(3))
        assert successors.after(p64(1)) == (p64(2), count)
    successors.note(p64(1), p64(3))
    assert successors.after(p64(1)) == (p64(3), 1)


def test_another_object_in_the_same_place() -> None:
    successors = Successors()
    one, other = p64(1), p64((1 << 32) + 1)
    successors.note(one, p64(2))
    assert successors.after(other) is None
    successors.note(other, p64(3))
    assert successors.after(other) == (p64(3), 1)
    assert successors.after(one) is None


# What was sent.


@given(st.lists(st.integers(0, 2**40), max_size=2000))
def test_nothing_is_taken_for_sent_that_was_not(numbers: list[int]) -> None:
    sent, changes = Sent(), Changes()
    for number in numbers:
        sent.add(p64(number), changes.now)
    assert not any(sent.has(p64(n), changes) for n in range(300) if n not in set(numbers))


def test_what_was_sent_lately_is_known() -> None:
    sent, changes = Sent(), Changes()
    for number in range(5000):
        sent.add(p64(number), changes.now)
    assert all(sent.has(p64(number), changes) for number in range(5000))
    # It does not grow for ever.
    for number in range(5000, 100_000):
        sent.add(p64(number), changes.now)
    assert not sent.has(p64(0), changes)
    assert all(sent.has(p64(number), changes) for number in range(90_000, 100_000))
    sent.clear()
    assert not sent.has(p64(99_999), changes)


def test_what_has_changed_was_not_sent() -> None:
    sent, changes = Sent(), Changes()
    for number in (1, 2):
        sent.add(p64(number), changes.now)
    changes.note([p64(1)])
    assert not sent.has(p64(1), changes)
    assert sent.has(p64(2), changes)
    sent.add(p64(1), changes.now)
    assert sent.has(p64(1), changes)


def test_more_changes_than_are_remembered() -> None:
    sent, changes = Sent(), Changes()
    sent.add(p64(1), changes.now)
    for start in range(0, 21_000, 1000):
        changes.note([p64(10 + number) for number in range(start, start + 1000)])
    assert not sent.has(p64(1), changes)
    sent.add(p64(1), changes.now)
    assert sent.has(p64(1), changes)


# Time.


@pytest.mark.parametrize("each", [0.001, 0.01, 1.0])
def test_guesses_take_a_half_of_the_time(each: float) -> None:
    now = 0.0
    allowance = Allowance(lambda: now)
    spent = 0.0
    while now < 60:
        now += 0.001
        if allowance.begin():
            now += each
            spent += each
            allowance.end()
    assert spent <= 0.5 * now + 0.01 + each


def test_one_answer_takes_a_few_milliseconds() -> None:
    now = 0.0
    allowance = Allowance(lambda: now)
    assert 0 < allowance.begin() - now <= 0.005
    now = 1000.0
    assert 0 < allowance.begin() - now <= 0.005


def test_a_very_large_transaction() -> None:
    changes = Changes()
    changes.note([p64(1)])
    now = changes.now
    changes.note([p64(number) for number in range(20_000)])
    # Anything may have changed, and nothing of it is kept.
    assert changes.is_changed(p64(1), now) and changes.is_changed(p64(10**6), now)
    assert not changes._last
    assert not changes.is_changed(p64(1), changes.now)
