"""Both encodings: what may be sent, and what hostile bytes can do (nothing)."""

from __future__ import annotations

import contextlib
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeotwisted.protocol.codecs import CODECS, LONG, EncodeError, UndecodableMessage

both = pytest.mark.parametrize("letter", [b"Z", b"M"])

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)
ids = st.integers(-1, 2**63) | st.tuples(st.binary(min_size=8, max_size=8), st.binary(max_size=8))


@both
@given(ids, st.sampled_from([0, 1, 2]), st.text(), plain)
def test_round_trip(letter: bytes, id: Any, flag: int, name: str, args: Any) -> None:
    codec = CODECS[letter]
    assert codec.decode(codec.encode((id, flag, name, args))) == (id, flag, name, args)


long_or_not = st.lists(plain | st.sampled_from([b"y" * (LONG - 1), b"z" * LONG]), max_size=4)


@both
@given(ids, long_or_not.map(tuple))
def test_pieces_are_what_is_encoded_as_a_whole(letter: bytes, id: Any, args: Any) -> None:
    codec = CODECS[letter]
    message = (id, 1, "storea", args)
    pieces = codec.encode_pieces(message)
    assert b"".join(pieces) == codec.encode(message)
    if letter == b"M":
        copied = [arg for arg in args if isinstance(arg, bytes) and len(arg) >= LONG]
        assert all(any(arg is piece for piece in pieces) for arg in copied)


@both
def test_what_cannot_be_sent_is_refused_in_pieces_too(letter: bytes) -> None:
    with pytest.raises(EncodeError):
        CODECS[letter].encode_pieces((1, 0, "x", (b"x" * LONG, object())))


@both
def test_a_bytearray_is_decoded_like_bytes(letter: bytes) -> None:
    codec = CODECS[letter]
    message = (1, 0, ".reply", (b"x", "y"))
    decoded = codec.decode(bytearray(codec.encode(message)))
    assert decoded == message
    assert type(decoded[3][0]) is bytes


@both
@given(st.binary(max_size=200))
def test_random_bytes(letter: bytes, data: bytes) -> None:
    with contextlib.suppress(UndecodableMessage):
        CODECS[letter].decode(data)


@both
@pytest.mark.parametrize("args", [object(), (object,), [lambda: 0], ValueError("x")])
def test_unsendable_values(letter: bytes, args: Any) -> None:
    with pytest.raises(EncodeError):
        CODECS[letter].encode((1, 0, "x", args))


def test_numbers_that_msgpack_cannot_carry() -> None:
    with pytest.raises(EncodeError):
        CODECS[b"M"].encode((1, 0, "x", (2**64,)))


@both
def test_endless_values_cannot_be_sent(letter: bytes) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EncodeError):
        CODECS[letter].encode((1, 0, "x", endless))


@both
@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        (),
        (1, 0, "x"),
        (1, 0, "x", (), ()),
        (None, 0, "x", ()),
        ("1", 0, "x", ()),
        (True, 0, "x", ()),
        ((b"a",), 0, "x", ()),
        ((b"a", b"b", b"c"), 0, "x", ()),
        ((b"a", "b"), 0, "x", ()),
        (1, 3, "x", ()),
        (1, None, "x", ()),
        (1, (), "x", ()),
        (1, 0, b"x", ()),
        (1, 0, None, ()),
        {"id": 1},
    ],
)
def test_what_is_no_message(letter: bytes, value: Any) -> None:
    with pytest.raises(UndecodableMessage, match="not a tuple"):
        CODECS[letter].decode(CODECS[letter].encode(value))


@pytest.mark.parametrize("flag", [False, True])
def test_flags_may_be_booleans(flag: bool) -> None:
    for codec in CODECS.values():
        decoded = codec.decode(codec.encode((1, flag, "x", ())))
        assert decoded == (1, int(flag), "x", ())
        assert type(decoded[1]) is int


def test_trailing_bytes() -> None:
    for codec in CODECS.values():
        with pytest.raises(UndecodableMessage):
            codec.decode(codec.encode((1, 0, "x", ())) + b"N")


def _peak(function: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("marker", [b"\xdd", b"\xdf"])
def test_nested_msgpack_claims_reserve_no_memory(marker: bytes) -> None:
    """Each level claims what would fit into the message, all of them together claim far more.

    It is why setup.cfg asks for msgpack 1.2.4: some versions before it reserve what is claimed.
    """
    size = 2**18
    # A map's key must not be an array itself.
    head = marker + (size // 4).to_bytes(4, "big") + (b"\x01" if marker == b"\xdf" else b"")
    data = (head * 500).ljust(size, b"\0")

    def decode() -> None:
        with pytest.raises(UndecodableMessage):
            CODECS[b"M"].decode(data)

    assert _peak(decode) < 64 * 2**20


@pytest.mark.parametrize(
    "head", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"], ids=["array", "map", "bin", "str", "ext"]
)
@pytest.mark.parametrize("size", [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
def test_huge_msgpack_claims(head: bytes, size: bytes) -> None:
    def decode() -> None:
        with pytest.raises(UndecodableMessage):
            CODECS[b"M"].decode(b"\x94\x01\x00\xa1x" + head + size + b"\0" * 100)

    assert _peak(decode) < 2**20


def test_deep_msgpack() -> None:
    with pytest.raises(UndecodableMessage):
        CODECS[b"M"].decode(b"\x91" * 100_000 + b"\xc0")


def test_an_error_does_not_repeat_the_message() -> None:
    """Errors are logged; a message may be a gigabyte long."""
    text = b"\xff" * 100_000
    for codec, data in (
        (CODECS[b"M"], b"\xdb" + len(text).to_bytes(4, "big") + text),
        (CODECS[b"M"], msgpack.packb(text) + b"more"),
        (CODECS[b"Z"], b"\x80\x03X" + len(text).to_bytes(4, "little") + text + b"."),
    ):
        with pytest.raises(UndecodableMessage) as caught:
            codec.decode(data)
        assert len(str(caught.value)) < 300


@both
@given(st.integers(0, 2**31 - 1), *[st.binary(min_size=8, max_size=8)] * 2)
def test_a_load_means_the_same_however_it_is_encoded(
    letter: bytes, id: int, oid: bytes, tid: bytes
) -> None:
    codec = CODECS[letter]
    message = codec.decode(codec.encode_load(id, oid, tid))
    assert message == codec.decode(codec.encode((id, 0, "loadBefore", (oid, tid))))
    if letter == b"Z":
        # Stock servers read it with a pickle machine.
        assert pickle.loads(codec.encode_load(id, oid, tid)) == message
