"""Records that nobody has asked for: what is packed is unpacked, and nothing else is believed."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeotwisted.protocol import pack_ahead, unpack_ahead

_eight = st.binary(min_size=8, max_size=8)
_RECORDS = st.lists(st.tuples(_eight, _eight, st.binary(max_size=500)), max_size=50)


@given(_RECORDS)
def test_what_is_packed_is_unpacked(records: list[tuple[bytes, bytes, bytes]]) -> None:
    assert unpack_ahead(pack_ahead(records), 1000, 2**20) == records


def test_records_that_are_alike_take_little_room() -> None:
    records = [(bytes([n] * 8), b"serial 1", b"the same text %d" % n * 10) for n in range(50)]
    plain = sum(len(data) for _, _, data in records)
    assert len(pack_ahead(records)) < plain / 5


def test_nothing_takes_no_room() -> None:
    assert pack_ahead([]) == b""


@given(_RECORDS, st.data())
def test_what_is_cut_off_or_too_long_is_refused(
    records: list[tuple[bytes, bytes, bytes]], data: st.DataObject
) -> None:
    packed = pack_ahead([*records, (b"12345678", b"12345678", b"")])
    end = data.draw(st.integers(1, len(packed) - 1))
    for bad in (packed[:end], packed + b"x"):
        with pytest.raises(ValueError, match="not asked for"):
            unpack_ahead(bad, 1000, 2**20)


@given(st.binary(min_size=1, max_size=100))
def test_any_bytes_are_records_or_refused(data: bytes) -> None:
    try:
        records = unpack_ahead(data, 1000, 1000)
    except ValueError:
        return
    assert pack_ahead(list(records))


def test_a_little_that_becomes_very_much_is_refused() -> None:
    bomb = b"\1" + zlib.compress(bytes(2**24))
    assert len(bomb) < 2**15
    with pytest.raises(ValueError, match="too long"):
        unpack_ahead(bomb, 1000, 2**16)


def test_more_than_were_asked_for_are_refused() -> None:
    packed = pack_ahead([(b"12345678", b"12345678", b"")] * 3)
    assert len(unpack_ahead(packed, 3, 1000)) == 3
    with pytest.raises(ValueError, match="3 records that were not asked for, and 2"):
        unpack_ahead(packed, 2, 1000)
