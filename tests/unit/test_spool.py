"""The spool keeps what it is given, on whichever side of its limit."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeotwisted.spool import Spool


@given(
    entries=st.lists(st.tuples(st.binary(max_size=50), st.none() | st.integers())),
    limit=st.integers(0, 300),
    looks=st.sets(st.integers(0, 20)),
)
def test_entries_come_back_in_order(
    entries: list[tuple[bytes, Any]], limit: int, looks: set[int]
) -> None:
    spool = Spool(in_memory=limit)
    for number, entry in enumerate(entries):
        spool.append(entry, len(entry[0]))
        if number in looks:
            assert list(spool) == entries[: number + 1]
            # Whoever stops in the middle leaves the file somewhere in the middle, too.
            next(iter(spool))
    assert list(spool) == list(spool) == entries
    assert len(spool) == len(entries)
    spool.close()


def test_small_things_do_not_touch_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    files = []
    make = tempfile.TemporaryFile
    monkeypatch.setattr(
        tempfile, "TemporaryFile", lambda *args, **kwargs: files.append(1) or make(*args, **kwargs)
    )
    spool = Spool(in_memory=1000)
    for _ in range(10):
        spool.append((b"x" * 100,), 100)
    assert not files
    spool.append((b"x",), 1)
    assert files == [1]
    spool.close()
    spool.close()
    assert list(spool) == []
