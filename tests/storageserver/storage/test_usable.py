"""A FileStorage whose disk is full, or that has closed itself."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

from tests.ordering.puppets import LATEST, PuppetClient, Server

OLD, FAILS, NEW = (p64(number) for number in range(3))


class Full(io.FileIO):
    """A file on a disk that has room up to some size."""

    most: int | None = None

    def write(self, data: Any) -> int:
        room = len(data) if self.most is None else max(0, self.most - self.tell())
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data[:room])


class Disk:
    """A daemon with a FileStorage on a disk that may be full."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "Data.fs"
        self.storage = FileStorage(str(self.path))
        self.storage._file.close()
        self.file = Full(self.path, "r+")
        self.storage._file = io.BufferedRandom(self.file)
        self.server = Server(self.storage)

    def has_room_for(self, size: int | None) -> None:
        self.file.most = None if size is None else self.path.stat().st_size + size


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path)
    yield disk
    disk.has_room_for(None)
    disk.storage.close()


def vote(client: PuppetClient, number: int, oid: bytes, size: int) -> None:
    client.tell("tpc_begin", number, "", "", {})
    client.tell("storea", oid, z64, b"x" * size, number)
    client.ask("vote", number)


@pytest.mark.parametrize("size", [100, 9000])
@pytest.mark.parametrize("room", [0, 10, 50, 100, 150, 170])
def test_commit_after_a_full_disk_can_be_read(disk: Disk, room: int, size: int) -> None:
    """Neither what is left of the failed one, nor what was read of it, is in the way."""
    client = disk.server.client()
    client.commit(1, OLD)
    disk.has_room_for(room)
    with pytest.raises(OSError):
        vote(client, 2, FAILS, size)
    # Reads more of the file than it needs.
    assert client.ask("loadBefore", OLD, LATEST)[0] == b"data of 1"
    disk.has_room_for(None)
    vote(client, 3, NEW, 10)
    client.ask("tpc_finish", 3)
    assert client.ask("loadBefore", NEW, LATEST)[0] == b"x" * 10
    assert disk.path.stat().st_size == disk.storage.getSize()


def test_records_can_be_loaded_while_the_disk_is_full(disk: Disk) -> None:
    client = disk.server.client()
    client.commit(1, OLD)
    disk.has_room_for(100)
    for number in range(2, 5):
        with pytest.raises(OSError):
            vote(client, number, FAILS, 100)
        assert client.ask("loadBefore", OLD, LATEST)[0] == b"data of 1"
    assert disk.server.served.unusable == ""


def test_storage_that_has_closed_itself_is_noticed_by_a_load(disk: Disk) -> None:
    """Who asks is not told of it: the storage may be there again for the next connection."""
    client, other = disk.server.client(), disk.server.client()
    client.commit(1, OLD)
    other.received()
    disk.storage.close()
    client.send("loadBefore", OLD, LATEST)
    assert client.received() == [] and client.dropped and other.dropped
    assert disk.server.served.unusable


def test_storage_that_has_closed_itself_is_noticed_by_a_vote(disk: Disk) -> None:
    client = disk.server.client()
    client.commit(1, OLD)
    disk.storage.close()
    client.tell("tpc_begin", 2, "", "", {})
    client.tell("storea", NEW, z64, b"data", 2)
    client.send("vote", 2)
    assert client.received() == [] and client.dropped
    assert disk.server.served.unusable


def test_error_of_a_storage_that_is_there_is_told(disk: Disk) -> None:
    client = disk.server.client()
    disk.storage.loadBefore = _fails
    with pytest.raises(OSError, match="just this record"):
        client.ask("loadBefore", OLD, LATEST)
    assert not client.dropped and not disk.server.served.unusable


def _fails(oid: bytes, tid: bytes) -> None:
    raise OSError("just this record")
