"""A FileStorage whose disk is full, or that has closed itself."""

from __future__ import annotations

import errno
import io
import os
import re
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.FileStorage import TempFormatter
from ZODB.utils import p64, z64

from tests.ordering.puppets import LATEST, PuppetClient, Server
from zeotwisted.exceptions import server_os_error
from zeotwisted.protocol.errors import exception_to_wire
from zeotwisted.storageserver.connections.fulldisk import told

OLD, FAILS, NEW = (p64(number) for number in range(3))

MAKE_ROOM = "[Errno 28] No space left on device, on the server's disk; make room there"


class Full(io.FileIO):
    """A file on a disk that has room up to some size."""

    most: int | None = None

    def write(self, data: Any) -> int:
        room = len(data) if self.most is None else max(0, self.most - self.tell())
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data[:room])


class Crowded(io.FileIO):
    """A file on a disk where it and another one share the room. Holes take none."""

    room: int | None = None
    beside: Path

    def write(self, data: Any) -> int:
        if self.room is None:
            return super().write(data)
        own, begin = _taken(os.fstat(self.fileno())), self.tell()
        over = max(0, min(begin + len(data), own) - begin)
        room = over + self.room - own - _taken(self.beside.stat())
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data[:room])


def _taken(status: os.stat_result) -> int:
    return 512 * status.st_blocks


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


@pytest.mark.parametrize(
    ("records", "size"),
    [(1, 60_000), (1, 150_000), (150, 1000)],
    ids=["at the vote", "while it is collected", "while Python has some of it"],
)
def test_a_smaller_commit_finds_the_room_of_one_that_failed(
    tmp_path: Path, records: int, size: int
) -> None:
    path = tmp_path / "Data.fs"
    storage = FileStorage(str(path))
    server = Server(storage)
    files = {"_file": path, "_tfile": tmp_path / "Data.fs.tmp"}
    for (name, own), other in zip(files.items(), reversed(files.values()), strict=True):
        getattr(storage, name).close()
        crowded = Crowded(own, "r+")
        crowded.beside, crowded.room = other, 100_000
        setattr(storage, name, io.BufferedRandom(crowded))
    storage._tfmt = TempFormatter(storage._tfile)
    client = server.client()
    client.commit(1, OLD)
    client.tell("tpc_begin", 2, "", "", {})
    for number in range(records):
        client.tell("storea", p64(100 + number), z64, b"x" * size, 2)
    with pytest.raises(OSError, match="make room there"):
        client.ask("vote", 2)
    vote(client, 3, NEW, 42_000)
    client.ask("tpc_finish", 3)
    assert len(client.ask("loadBefore", NEW, LATEST)[0]) == 42_000
    assert path.stat().st_size == storage.getSize()
    storage.close()


def test_the_log_has_one_line_for_a_full_disk(disk: Disk) -> None:
    client = disk.server.client()
    disk.has_room_for(100)
    with capturedLogs() as events, pytest.raises(OSError):
        vote(client, 1, FAILS, 10_000)
    (line,) = _warnings(events)
    assert line.endswith(f"vote failed: OSError: {MAKE_ROOM}")


def test_the_log_has_one_line_for_a_pack_without_room(disk: Disk) -> None:
    """Nobody waits for the end of this pack."""

    def pack(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    disk.storage.pack = pack
    with capturedLogs() as events:
        disk.server.client().ask("pack", time.time(), False)
    (line,) = _warnings(events)
    assert line.endswith(f"pack failed: {MAKE_ROOM}")


def _warnings(events: Sequence[LogEvent]) -> list[str]:
    return [formatEvent(event) for event in events if event["log_level"] > LogLevel.info]


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


WHOSE = f"^{re.escape(MAKE_ROOM)}"


@pytest.mark.parametrize("call", ["store", "undo", "pack"])
def test_a_full_disk_is_said_to_be_the_servers(disk: Disk, call: str) -> None:
    client = disk.server.client()
    client.commit(1, OLD)
    tid = client.commit(2, NEW)
    disk.has_room_for(0)
    with pytest.raises(OSError, match=WHOSE) as raised:
        if call == "store":
            vote(client, 3, FAILS, 9000)
        elif call == "undo":
            client.tell("tpc_begin", 3, "", "", {})
            client.tell("undoa", b64encode(tid), 3)
            client.ask("vote", 3)
        else:
            disk.storage.pack = _full
            client.ask("pack", time.time(), True)
    assert raised.value.errno == errno.ENOSPC
    assert raised.value.filename == ("Data.fs.pack" if call == "pack" else None)


def _full(*arguments: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "Data.fs.pack")


def test_only_a_full_disk_is_explained() -> None:
    quota = told(OSError(errno.EDQUOT, "Disk quota exceeded"))
    assert str(quota) == "[Errno 122] Disk quota exceeded, on the server's disk; make room there"
    assert exception_to_wire(quota, extended=False) == ("builtins.OSError", quota.args)
    assert len(quota.args) == 2
    others = (
        OSError(errno.EIO, "Input/output error"),
        OSError("just this record"),
        ValueError(errno.ENOSPC),
        # The disk of another server, which this one is a client of.
        server_os_error(OSError, errno.ENOSPC, "No space left on device, on the server's disk"),
    )
    for error in others:
        assert told(error) is error
