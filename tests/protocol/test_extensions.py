"""Stored extensions are read without running them, and what version 5 sends of them can be sent."""

from __future__ import annotations

import datetime
import decimal
import pickle
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ZEO.asyncio import marshal
from ZODB._compat import dumps, loads

from zeotwisted.protocol.codecs import CODECS
from zeotwisted.protocol.extensions import Unknown, Unreadable, described, plain, stored, with_entry

NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.booleans()
TEXTS = st.text(st.characters()) | st.binary()
KEYS = TEXTS | NUMBERS | st.none() | st.tuples(NUMBERS, TEXTS)
VALUES = st.recursive(
    NUMBERS
    | TEXTS
    | st.none()
    | st.integers(-(2**3000), 2**3000)
    | st.dates()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.complex_numbers(allow_nan=False)
    | st.frozensets(NUMBERS),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner),
    max_leaves=15,
)
EXTENSIONS = st.dictionaries(KEYS, VALUES, max_size=5)


@settings(max_examples=40, deadline=None)
@given(EXTENSIONS, st.integers(0, 5))
def test_described_is_what_was_written(extension: dict[Any, Any], protocol: int) -> None:
    try:
        written = pickle.dumps(extension, protocol)
    except ValueError:  # long numbers as text
        return
    try:
        found = described(written)
    except Unreadable as error:
        # Long numbers are texts of any length before protocol 2.
        assert protocol < 2 and "ValueError" in str(error)
        return
    assert list(map(repr, found)) == list(map(repr, extension))
    for value, original in zip(found.values(), extension.values(), strict=True):
        assert type(value) is Unknown or type(value) is type(original)
        if type(original) not in (list, tuple, dict):
            assert type(value) is Unknown or value == original


@settings(max_examples=40, deadline=None)
@given(EXTENSIONS)
def test_what_is_sent_in_version_5_arrives(extension: dict[Any, Any]) -> None:
    value = described(stored(extension))
    for letter in (b"Z", b"M"):
        encoded = CODECS[letter].encode((1, 0, ".reply", plain(value, letter)))
        # Neither ours nor ZEO's readers refuse it.
        assert CODECS[letter].decode(encoded)[0] == 1
        assert marshal.decoder(letter + b"5")(encoded)[0] == 1


@settings(max_examples=40, deadline=None)
@given(EXTENSIONS, VALUES)
def test_with_one_more_entry(extension: dict[Any, Any], value: Any) -> None:
    extension.pop("one more", None)
    found = loads(with_entry(stored(extension), "one more", dumps(value, 3)))
    assert found == extension | {"one more": value}


def test_of_python_2() -> None:
    # cPickle.dumps({"user": "J\xf6rg", u"n": 5L, "t": True}, 1) and protocol 0
    one = b"}q\x01(U\x04userq\x02U\x04J\xf6rgq\x03X\x01\x00\x00\x00nq\x04L5L\nU\x01tI01\nu."
    assert described(one) == {"user": b"J\xf6rg", "n": 5, "t": True} == loads(one)
    zero = b"(dp1\nS'key'\np2\n(lp3\nS'a'\naVb\nas."
    assert described(zero) == {"key": ["a", "b"]} == loads(zero)


def test_values_of_classes() -> None:
    values = {
        "date": datetime.date(2020, 1, 2),
        "bytearray": bytearray(b"x"),
        "decimal": decimal.Decimal(1),
        "set": {1},
        "uuid": uuid.UUID(int=1),
    }
    found = described(dumps(values, 3))
    assert repr(found["uuid"]) == "<uuid.UUID>"
    assert found == values | {"bytearray": b"x", "uuid": found["uuid"]}


HOSTILE = {
    "nothing": b"\x80\x03",
    "no dict": b"].",
    "number": b"K\x01.",
    "memo": b"}X\x01\x00\x00\x00aj\xff\xff\xff\xffs.",
    "stack": b"}s.",
    "two values": b"}}.",
    "mark": b"}(u0u.",
    "odd": b"}(K\x01u.",
    "length": b"}X\xff\xff\xff\x7fa",
    "tuple of tuples as a key": b"})" + b"\x85" * 50_000 + b"Ns.",
    "list as a key": b"}]Ns.",
    "long number as a key": b"}\x8a\x14" + b"\x01" * 20 + b"Ns.",
    "items of a number": b"}X\x01\x00\x00\x00aK\x01K\x02ass.",
    "too long": b"}X\x01\x00\x00\x00aB\x00\x00\x20\x00" + b"x" * 2**21 + b"s.",
    "list as a name": b"}X\x01\x00\x00\x00a]]\x93s.",
    "copies": b"}X\x01\x00\x00\x00acbuiltins\nset\nq\x010](%beq\x020]q\x03(%bes."
    % (
        b"".join(b"M" + number.to_bytes(2, "little") for number in range(9000)),
        b"h\x01h\x02\x85R" * 9000,
    ),
    "unknown opcode": b"}\xff.",
    "text": b"no pickle",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_unreadable(name: str) -> None:
    with pytest.raises(Unreadable):
        described(HOSTILE[name])


def test_calls_are_not_made() -> None:
    assert repr(described(b"}X\x01\x00\x00\x00acos\nabort\n)Rs.")) == "{'a': <os.abort>}"
    for call in (
        b"cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x10\x85R",
        b"cdecimal\nDecimal\nX\xe8\x03\x00\x00" + b"9" * 1000 + b"\x85R",
        b"(cos\nabort\no",
        b"(ios\nabort\n",
        b"cos\nabort\n)\x81",
        b"cbuiltins\neval\nX\x01\x00\x00\x001\x85RN\x86R",
    ):
        pickled = b"}X\x01\x00\x00\x00a" + call + b"s."
        try:
            value = described(pickled)["a"]
        except Unreadable:
            continue
        assert type(value) is Unknown


def test_what_unfolds_to_much_more_is_cut_off() -> None:
    """Each list contains the one before ten times."""
    bomb = b"}X\x01\x00\x00\x00a]q\x01"
    for _ in range(30):
        bomb += b"0](" + b"h\x01" * 10 + b"eq\x01"
    value = described(bomb + b"s.")
    for letter in (b"Z", b"M"):
        assert len(CODECS[letter].encode((1, 0, ".reply", plain(value, letter)))) < 2**24
    # One long string, in many tuples.
    keys = b"X\x00\x40\x00\x00" + b"x" * 2**14 + b"q\x010"
    keys += b"}(" + b"".join(
        b"M" + number.to_bytes(2, "little") + b"h\x01h\x01\x87N" for number in range(5000)
    )
    value = described(keys + b"u.")
    assert len(value) == 5000
    for letter in (b"Z", b"M"):
        assert len(CODECS[letter].encode((1, 0, ".reply", plain(value, letter)))) < 2**24
    deep = described(b"}X\x01\x00\x00\x00a" + b"(" * 10_000 + b"l" * 10_000 + b"s.")
    for letter in (b"Z", b"M"):
        CODECS[letter].encode((1, 0, ".reply", plain(deep, letter)))
