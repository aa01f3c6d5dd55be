"""Joined oids against lists of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ZODB.utils import u64

from zeotwisted.protocol.oids import are_joined, numbers, split


@given(st.lists(st.binary(min_size=8, max_size=8)))
def test_joined_oids(oids: list[bytes]) -> None:
    joined = b"".join(oids)
    assert are_joined(joined)
    assert split(joined) == oids
    assert numbers(joined) == tuple(map(u64, oids))


@pytest.mark.parametrize("value", [b"7 bytes", b"9 bytes..", "8 chars.", None, [b"8 bytes."], 8])
def test_what_are_no_joined_oids(value: Any) -> None:
    assert not are_joined(value)
