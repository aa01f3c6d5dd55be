"""What decoding may cost is bounded by what a call can be, not by what a peer sends."""

from __future__ import annotations

import contextlib
import struct
import time
import tracemalloc
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeotwisted.protocol import methods
from zeotwisted.protocol.bounds import ANY, FEW, Allowance, TooMany, check_msgpack
from zeotwisted.protocol.codecs import CODECS, UndecodableMessage
from zeotwisted.protocol.framing import encode_frame
from zeotwisted.protocol.methods import CLIENT_CALLS, SERVER_CALLS, allowance
from zeotwisted.protocol.session import (
    Called,
    ClientHandshake,
    Replied,
    ServerHandshake,
    Session,
    WireError,
)

#: Length of a hostile message.
LONG = 2**22
OID = b"\0" * 8


def sessions(protocol: bytes) -> tuple[Session, Session]:
    """Return a server's session and a client's, both registered."""
    server = Session(ServerHandshake(protocol[:1] == b"M", protocol[1:] == b"6"))
    client = Session(ClientHandshake())
    list(client.receive(server.greeting))
    list(server.receive(client.greeting))
    assert server.protocol == client.protocol == protocol
    server.registered()
    client.registered()
    return server, client


def _pickled(name: bytes, arguments: bytes) -> bytes:
    return b"\x80\x03(K\x05K\x00X" + struct.pack("<I", len(name)) + name + arguments + b"t."


def _packed(name: bytes, arguments: bytes) -> bytes:
    return b"\x94\x05\x00" + bytes([0xA0 + len(name)]) + name + arguments


def _array(item: bytes, size: int = LONG) -> bytes:
    count = size // len(item)
    return b"\xdd" + struct.pack(">I", count) + item * count


_TEXT = b"X\x01\0\0\0a"
_BEGIN = b"(K\x01" + _TEXT + _TEXT
_PUTS = b"".join(b"r" + struct.pack("<I", index) for index in range(LONG // 5))

HOSTILE = {
    "pickled numbers": (b"Z5", _pickled(b"storea", b"(" + b"K\x01" * (LONG // 2) + b"t")),
    "pickled list": (b"Z5", _pickled(b"storea", b"(](" + b"N" * LONG + b"et")),
    "empty tuples": (b"Z5", _pickled(b"ping", b"(" + b")" * LONG + b"t")),
    "empty dicts": (b"Z5", _pickled(b"tpc_begin", b"(" + b"}" * LONG + b"t")),
    "marks": (b"Z5", _pickled(b"ping", b"(" * LONG)),
    "puts": (b"Z5", _pickled(b"ping", b")" + _PUTS)),
    "gets": (b"Z5", _pickled(b"ping", b"(Nq\0" + b"h\0" * (LONG // 2) + b"t")),
    "texts": (b"Z5", _pickled(b"ping", b"(" + _TEXT * (LONG // 6) + b"t")),
    "nested lists": (b"Z5", _pickled(b"ping", b"(" + b"]" * LONG)),
    "long numbers": (b"Z5", _pickled(b"ping", b"(" + (b"\x8a\x02\xff\x7f" * (LONG // 4)) + b"t")),
    "extension": (b"Z5", _pickled(b"tpc_begin", _BEGIN + b"}" + _TEXT + b"](" + b"N" * LONG)),
    "numbers to forget": (b"Z5", _pickled(b"iterator_gc", b"](" + b"K\x01" * (LONG // 2) + b"e")),
    "no name": (b"Z5", b"\x80\x03" + b"N" * LONG),
    "unknown name": (b"Z5", _pickled(b"no_such_call", b"(" + b"N" * LONG + b"t")),
    "an answer": (b"Z5", _pickled(b".reply", b"(" + b"N" * LONG + b"t")),
    "packed numbers": (b"M6", _packed(b"storea", b"\x91" + _array(b"\1"))),
    "no message": (b"M6", _array(b"\1")),
    "empty maps": (b"M6", _packed(b"tpc_begin", b"\x94\1\xa0\xa0\x81\xa1a" + _array(b"\x80"))),
    "short arrays": (b"M6", _packed(b"ping", b"\x91" + _array(b"\x92\1\1"))),
    "short maps": (b"M6", _packed(b"ping", b"\x91" + _array(b"\x81\xa1a\1"))),
    "packed texts": (b"M6", _packed(b"ping", b"\x91" + _array(b"\xa2ab"))),
    "extension types": (b"M6", _packed(b"ping", b"\x91" + _array(b"\xd4\1a"))),
    "announced": (b"M6", _packed(b"ping", b"\x91" + b"\xdd\0\x10\0\0" * 900 + b"\1" * LONG)),
    "announced, short": (b"M6", _packed(b"ping", b"\x91" + b"\xdc\xff\xff" * 900 + b"\1" * 60000)),
    "packed answer": (b"M6", _packed(b".reply", _array(b"\1"))),
    "too many to load": (b"M6", _packed(b"loadManyBefore", b"\x92" + _array(b"\xc4\x08" + OID))),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_message_costs_little_however_many_values_it_has(name: str) -> None:
    protocol, message = HOSTILE[name]
    server, _ = sessions(protocol)
    frame = encode_frame(message)
    tracemalloc.start()
    before = time.process_time()
    try:
        with pytest.raises(WireError, match=r"more than \d+ values|cut off"):
            list(server.receive(frame))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Pickles are copied once, and so is what has been read of the stream. (tracemalloc makes each
    # value about ten times as expensive.)
    assert peak < 2 * len(frame) + 2**23
    assert time.process_time() - before < 2


@pytest.mark.parametrize("protocol", [b"Z5", b"M5"])
def test_as_many_values_as_a_call_may_have(protocol: bytes) -> None:
    server, client = sessions(protocol)

    def receive(most: int) -> Called:
        frame = client.oneway("tpc_begin", 1, "", "", {"values": [None] * most})
        (event,) = server.receive(frame)
        assert type(event) is Called
        return event

    assert len(receive(65_000).args[3]["values"]) == 65_000
    with pytest.raises(WireError, match="more than 65536 values"):
        receive(66_000)


@pytest.mark.parametrize("protocol", [b"Z5", b"M5", b"M6"])
def test_long_data_is_one_value(protocol: bytes) -> None:
    server, client = sessions(protocol)
    data = bytes(2**23)
    (event,) = server.receive(client.oneway("storea", OID, OID, data, 2**40))
    assert event == Called(None, SERVER_CALLS["storea"], (OID, OID, data, 2**40), None)


@pytest.mark.parametrize("protocol", [b"Z5", b"M5", b"M6"])
def test_as_many_oids_as_a_transaction_has(protocol: bytes) -> None:
    server, client = sessions(protocol)
    oids = [number.to_bytes(8, "big") for number in range(300_000)]
    (event,) = client.receive(server.oneway("invalidateTransaction", OID, oids))
    assert list(event.args[1]) == oids
    for id, value in enumerate(([OID, oids], (oids, OID), [{"oid": OID}] * 1000)):
        (event,) = client.receive(server.reply(id, value))
        assert type(event) is Replied
        assert len(event.value) == len(value)


@pytest.mark.parametrize("protocol", [b"Z5", b"M5", b"M6"])
def test_a_long_undo_log(protocol: bytes) -> None:
    server, client = sessions(protocol)
    entry = {"id": b"x" * 12, "time": 1.5, "user_name": b"", "description": b"", "size": 1000}
    (event,) = client.receive(server.reply(1, [entry] * 20_000))
    assert event.value[-1] == entry
    assert len(event.value) == 20_000


def test_a_thousand_records_can_be_asked_for() -> None:
    server, client = sessions(b"M6")
    oids = tuple(number.to_bytes(8, "big") for number in range(methods.MOST_LOADED))
    (event,) = server.receive(client.call(1, "loadManyBefore", oids, OID))
    assert event.args == (oids, OID)


def test_unregistered_clients_have_the_same_bounds() -> None:
    server = Session(ServerHandshake())
    list(server.receive(encode_frame(b"Z5")))
    with pytest.raises(WireError, match="more than 256 values"):
        list(server.receive(encode_frame(_pickled(b"register", b"(" + b"N" * 4000 + b"t"))))


def _colliding_tuples(count: int) -> list[tuple[int, int]]:
    """Return pairs of numbers whose hashes are all the same, as CPython computes them."""
    size = 2**64
    first, second, fifth = 11400714785074694791, 14029467366897019727, 2870177450012600261

    def rotate(number: int, bits: int) -> int:
        return ((number << bits) | (number >> (64 - bits))) % size

    target = rotate(1234567890123456789 * pow(first, -1, size) % size, 33)
    found = []
    number = 0
    while len(found) < count:
        number += 1
        lane = rotate((fifth + number * second) % size, 31) * first % size
        other = (target - lane) * pow(second, -1, size) % size
        if other < 2**61 - 1:
            found.append((number, other))
    return found


@pytest.mark.parametrize("count", [2, 2000])
def test_tuples_are_no_keys(count: int) -> None:
    """A dict of tuples with the same hash takes quadratic time."""
    keys = _colliding_tuples(count)
    message = msgpack.packb((5, 0, "tpc_begin", (1, "", "", dict.fromkeys(keys))))
    with pytest.raises(UndecodableMessage, match="tuple cannot be a key"):
        CODECS[b"M"].decode(message)


def test_keys_of_other_kinds_than_text_still_are() -> None:
    extension = {1: "a", -5: "b", b"c": 1, 1.5: 2, None: 3, False: 4, 2**64 - 1: 5}
    message = (5, 0, "tpc_begin", (1, "", "", extension))
    assert CODECS[b"M"].decode(msgpack.packb(message)) == message


@pytest.mark.parametrize("where", [(), ("x",), ({"a": None},)])
def test_extension_types_do_not_occur(where: Any) -> None:
    for value in (msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2)):
        data = {key: value for item in where for key in item} if where else value
        message = msgpack.packb((1, 0, "tpc_begin", (1, "", "", data)))
        # A time becomes a plain number; nothing else than plain data may reach a storage.
        with contextlib.suppress(UndecodableMessage):
            decoded = CODECS[b"M"].decode(message)[3][3]
            assert type(decoded) in (float, dict)
            assert not where or type(next(iter(decoded.values()))) is float


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text()
    # Runs of ids are recognised as such.
    | st.binary(max_size=300)
    | st.lists(st.binary(min_size=8, max_size=8), max_size=20),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=60,
)


def _count(value: Any) -> int:
    if isinstance(value, list):
        return len(value) + sum(map(_count, value))
    if isinstance(value, dict):
        return 2 * len(value) + sum(map(_count, value.values()))
    return 0


@given(values, st.integers(0, 2**64 - 1) | st.just([OID, OID]), st.text("abc", max_size=31))
def test_values_are_counted_as_they_are(value: Any, id: Any, name: str) -> None:
    message = [id, 0, name, value]
    data = msgpack.packb(message)
    count = _count(message)
    asked = []

    def allowed(name: str, size: int) -> int:
        asked.append((name, size))
        return count

    check_msgpack(data, Allowance(allowed))
    assert asked == [(name, len(data))]
    with pytest.raises(TooMany):
        check_msgpack(data, Allowance(lambda name, size: count - 1))


@given(st.binary(max_size=200))
def test_random_bytes_are_counted_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        check_msgpack(data, ANY)


@given(values)
def test_messages_of_few_and_of_many_values_mean_the_same(value: Any) -> None:
    message = (1, 0, "tpc_begin", value)
    for padding in ((), (b"x" * 70_000,), ("x",) * FEW):
        long = (*message[:3], (value, *padding))
        for codec in CODECS.values():
            expected = msgpack.unpackb(msgpack.packb(long), use_list=False, strict_map_key=False)
            decoded = codec.decode(codec.encode(long))
            assert repr(_tuples(decoded)) == repr(expected)


def _tuples(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(map(_tuples, value))
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


def _allowed() -> Iterator[tuple[str, int]]:
    for name, call in SERVER_CALLS.items():
        yield name, call.values


def test_the_table_of_calls_is_what_bounds_them() -> None:
    values_from_client = allowance(SERVER_CALLS).values
    assert all(values_from_client(name, LONG) == values for name, values in _allowed())
    assert {name for name, values in _allowed() if values != FEW} == {
        "iterator_gc",
        "loadManyBefore",
        "load_popular",
        "tpc_begin",
        "undoInfo",
    }
    assert values_from_client("no_such_call", LONG) == FEW
    assert allowance(CLIENT_CALLS).values(".reply", LONG) > LONG // 10
