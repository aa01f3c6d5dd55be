"""What is recognised as a whole means what the codecs say, and is what peers send."""

from __future__ import annotations

import io
import pickle
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ZEO.asyncio.marshal import encoder

from zeotwisted.protocol import frequent, pickles
from zeotwisted.protocol.codecs import CODECS, UndecodableMessage
from zeotwisted.protocol.methods import SERVER_CALLS
from zeotwisted.protocol.pickles import PickleError

from .examples import DATA, NEXT, OID, TID, TXN

LOAD = ("loadBefore", (OID, TID))

tids = st.binary(min_size=8, max_size=8)
numbers = st.integers(0, 300) | st.integers(0, 2**31 - 1)
pairs = st.tuples(tids, tids)
ids = numbers | pairs
records = st.binary(max_size=20) | st.binary(min_size=250, max_size=260)
transactions = st.integers(2**31, 2**63 - 1) | st.integers(2**16, 2**31 - 1)
loads = st.tuples(ids, st.just(0), st.just("loadBefore"), st.tuples(tids, tids))
messages = (
    loads
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


def read(data: bytes, letter: bytes = b"Z") -> Any:
    """Return the message that `data` is recognised as, or None."""
    load = frequent.LOADS[letter](data)
    if load is not None:
        return load[0], 0, "loadBefore", load[1]
    return frequent.read(data) if letter == b"Z" else None


def is_true(data: bytes, letter: bytes = b"Z") -> bool:
    """Return whether `data` is recognised; and check that the slow way leads to the same."""
    message = read(data, letter)
    if message is None:
        return False
    expected = pickles.loads(data) if letter == b"Z" else CODECS[letter].decode(data)
    assert message == expected
    # 1 is equal to True, too, and a bytearray to bytes.
    assert repr(message) == repr(expected)
    if message[2] != ".reply":
        SERVER_CALLS[message[2]].check(message[3])
    return True


@given(messages)
def test_they_are_recognised(message: Any) -> None:
    assert is_true(dumps(message, fast=True))
    assert read(pickles.dumps(message)) == message


@given(loads | st.tuples(st.integers(0, 2**64 - 1), st.just(0), st.just("loadBefore"), pairs))
def test_loads_are_recognised_in_msgpack(message: Any) -> None:
    assert is_true(CODECS[b"M"].encode(message), b"M")


@pytest.mark.parametrize("letter", [b"Z", b"M"])
def test_what_stock_peers_send_is_recognised(letter: bytes) -> None:
    """ZEO's own encoder is asked, and what its client and server give to it."""
    encode = encoder(letter + b"5")
    load = encode((OID, TID), False, "loadBefore", (OID, TID))
    assert read(load, letter) == CODECS[letter].decode(load) == ((OID, TID), 0, *LOAD)
    if letter == b"Z":
        answer = encode((OID, TID), 0, ".reply", (DATA, TID, None))
        assert read(answer) == CODECS[letter].decode(answer) is not None
        store = encode(0, True, "storea", (OID, TID, DATA, TXN))
        assert read(store) == (0, 1, "storea", (OID, TID, DATA, TXN))


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


encoded = st.one_of(
    st.builds(lambda message, fast: (dumps(message, fast), b"Z"), messages, st.booleans()),
    st.builds(lambda message: (CODECS[b"M"].encode(message), b"M"), loads),
)


@given(encoded, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255))))
def test_changed_ones_mean_what_the_codec_says(
    example: tuple[bytes, bytes], changes: list[tuple[int, int]]
) -> None:
    data, letter = bytearray(example[0]), example[1]
    for position, value in changes:
        data[position % len(data)] = value
    is_true(bytes(data), letter)


@given(encoded, st.integers(0, 400), st.integers(0, 400), st.binary(max_size=10))
def test_patched_ones_mean_what_the_codec_says(
    example: tuple[bytes, bytes], start: int, end: int, patch: bytes
) -> None:
    data, letter = example
    is_true(data[:start] + patch + data[end:], letter)


@given(st.binary(min_size=1, max_size=12), pairs)
def test_any_id_means_what_the_codec_says(id: bytes, pair: tuple[bytes, bytes]) -> None:
    """The id is the only part of such a load whose length is not known."""
    for letter in (b"M", b"Z"):
        data = CODECS[letter].encode((1, 0, "loadBefore", pair))
        head, one, tail = data.partition(b"\x01" if letter == b"M" else b"K\x01")
        assert one
        is_true(head + id + tail, letter)


@given(messages, st.integers(1, 30))
def test_cut_and_followed_ones_are_left_to_the_codec(message: Any, count: int) -> None:
    data = dumps(message, fast=True)
    for wrong in (data[:-count], data + data[:count], data + b"." * count):
        assert read(wrong) is None
        with pytest.raises(PickleError):
            pickles.loads(wrong)


@given(loads, st.integers(1, 30))
def test_the_same_in_msgpack(message: Any, count: int) -> None:
    data = CODECS[b"M"].encode(message)
    for wrong in (data[:-count], data + data[:count]):
        assert read(wrong, b"M") is None
        with pytest.raises(UndecodableMessage):
            CODECS[b"M"].decode(wrong)


@pytest.mark.parametrize(
    "message",
    [
        (1, 0, "loadSerial", (OID, TID)),
        (1, 1, "loadBefore", (OID, TID)),
        (1, 0, "loadBefore", (OID, b"short")),
        (1, 0, "loadBefore", (OID,)),
        (1, 0, "loadBefore", [OID, TID]),
        (2**40, 0, "loadBefore", (OID, TID)),
        (-1, 0, "loadBefore", (OID, TID)),
        (True, 0, "loadBefore", (OID, TID)),
        (1, True, "loadBefore", (OID, TID)),
        (1, 2, ".reply", (DATA, TID, None)),
        (1, 0, ".reply", (DATA, TID, True)),
        (1, 0, ".reply", None),
        (1, 1, "storea", (OID, TID, DATA, TXN)),
        (0, 1, "storea", (OID, None, DATA, TXN)),
        (0, 1, "storea", (OID, TID, DATA, 1)),
        (0, 1, "storea", (OID, TID, DATA, 2**63)),
    ],
)
def test_others_are_left_to_the_codec(message: Any) -> None:
    data = dumps(message, fast=True)
    assert read(data) is None
    assert pickles.loads(data) == message
    # There, numbers may be longer, and tuples are lists.
    if message[0] != 2**40 and type(message[3]) is not list:
        assert read(msgpack.packb(message), b"M") is None


def test_long_frames_are_left_to_the_codec() -> None:
    data = dumps((1, 0, ".reply", (b"x" * 100_000, TID, None)), fast=True)
    assert frequent.read(bytearray(data)) is None
    assert is_true(data)
