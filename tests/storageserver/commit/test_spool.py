"""The spool keeps what it is given, on whichever side of its limit."""

from __future__ import annotations

import errno
import tempfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeotwisted.storageserver.commit.spool import Spool


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


class _Full:
    """A file on a disk with room for some bytes."""

    def __init__(self, file: Any, room: int) -> None:
        self._file = file
        self.room = room

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: memoryview) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self._file.write(data[: self.room])
        self.room -= written
        return int(written)


@pytest.mark.parametrize("room", [0, 1, 100, 250, 1000])
def test_a_full_disk_loses_nothing_that_was_there(
    monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    files: list[_Full] = []
    make = tempfile.TemporaryFile

    def full(*args: Any, **kwargs: Any) -> Any:
        files.append(_Full(make(*args, **kwargs), room))
        return files[0]

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    spool = Spool(in_memory=200)
    kept = []
    with pytest.raises(OSError, match="No space left"):
        for number in range(100):
            entry = (b"%09d" % number * 10,)
            spool.append(entry, 90)
            kept.append(entry)
    assert list(spool) == kept
    assert len(spool) == len(kept)
    files[0].room = 10**6
    spool.append((b"more",), 90)
    assert list(spool) == [*kept, (b"more",)]
    spool.close()
