"""What is recognised as a whole means what the stack machine says, and is what peers send."""

from __future__ import annotations

import io
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeotwisted.protocol import frequent, pickles
from zeotwisted.protocol.pickles import PickleError

from .examples import DATA, NEXT, OID, TID, TXN

tids = st.binary(min_size=8, max_size=8)
numbers = st.integers(0, 300) | st.integers(-(2**31), 2**31 - 1)
ids = numbers | st.tuples(tids, tids)
records = st.binary(max_size=20) | st.binary(min_size=250, max_size=260)
transactions = st.integers(2**31, 2**63 - 1) | st.integers(2**16, 2**31 - 1)
messages = (
    st.tuples(ids, st.just(0), st.just("loadBefore"), st.tuples(tids, tids))
    | st.tuples(ids, st.just(0), st.just(".reply"), st.tuples(records, tids, st.none() | tids))
    | st.tuples(
        st.just(0), st.just(1), st.just("storea"), st.tuples(tids, tids, records, transactions)
    )
)


def dumps(message: Any, fast: bool) -> bytes:
    output = io.BytesIO()
    pickler = pickle.Pickler(output, 3)
    pickler.fast = fast
    pickler.dump(message)
    return output.getvalue()


def is_true(data: bytes) -> bool:
    """Return whether `data` is recognised; and check that the machine says the same."""
    message = frequent.read(data)
    if message is None:
        return False
    expected = pickles.loads(data)
    assert message == expected
    # 1 is equal to True, too, and a bytearray to bytes.
    assert repr(message) == repr(expected)
    return True


@given(messages)
def test_they_are_recognised(message: Any) -> None:
    assert is_true(dumps(message, fast=True))
    assert frequent.read(pickles.dumps(message)) == message


@given(messages)
def test_they_may_have_notes_of_a_memo(message: Any) -> None:
    data = dumps(message, fast=False)
    # What occurs twice is written once then.
    assert is_true(data) or b"h" in data


@pytest.mark.parametrize(
    "message",
    [
        ((OID, TID), 0, "loadBefore", (OID, TID)),
        ((OID, TID), 0, ".reply", (DATA, TID, None)),
        ((OID, TID), 0, ".reply", (DATA, TID, NEXT)),
        (0, 1, "storea", (OID, TID, DATA, TXN)),
    ],
)
def test_what_stock_peers_send(message: Any) -> None:
    assert is_true(dumps(message, fast=True))


@given(messages, st.booleans(), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255))))
def test_changed_ones_are_as_the_machine_says(
    message: Any, fast: bool, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(dumps(message, fast))
    for position, value in changes:
        data[position % len(data)] = value
    is_true(bytes(data))


@given(messages, st.booleans(), st.integers(0, 400), st.integers(0, 400), st.binary(max_size=10))
def test_patched_ones_are_as_the_machine_says(
    message: Any, fast: bool, start: int, end: int, patch: bytes
) -> None:
    data = dumps(message, fast)
    is_true(data[:start] + patch + data[end:])


@given(messages, st.integers(1, 30))
def test_cut_and_followed_ones_are_left_to_the_machine(message: Any, count: int) -> None:
    data = dumps(message, fast=True)
    for wrong in (data[:-count], data + data[:count], data + b"." * count):
        assert frequent.read(wrong) is None
        with pytest.raises(PickleError):
            pickles.loads(wrong)


@pytest.mark.parametrize(
    "message",
    [
        (1, 0, "loadSerial", (OID, TID)),
        (1, 1, "loadBefore", (OID, TID)),
        (1, 0, "loadBefore", (OID, b"short")),
        (1, 0, "loadBefore", (OID,)),
        (1, 0, "loadBefore", [OID, TID]),
        (2**40, 0, "loadBefore", (OID, TID)),
        (1, 2, ".reply", (DATA, TID, None)),
        (1, 0, ".reply", (DATA, TID, True)),
        (1, 0, ".reply", None),
        (1, 1, "storea", (OID, TID, DATA, TXN)),
        (0, 1, "storea", (OID, None, DATA, TXN)),
        (0, 1, "storea", (OID, TID, DATA, 1)),
        (0, 1, "storea", (OID, TID, DATA, 2**70)),
    ],
)
def test_others_are_left_to_the_machine(message: Any) -> None:
    data = dumps(message, fast=True)
    assert frequent.read(data) is None
    assert pickles.loads(data) == message


def test_long_frames_are_left_to_the_machine() -> None:
    data = dumps((1, 0, ".reply", (b"x" * 100_000, TID, None)), fast=True)
    assert frequent.read(bytearray(data)) is None
    assert is_true(data)
