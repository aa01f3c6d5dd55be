"""Transactions that take more than they may: the vote says so, and nothing is left of them."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ZODB.blob import BlobStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import StorageError
from ZODB.utils import z64

from tests.ordering.puppets import OID_A, OID_B, PuppetClient, Server
from zeotwisted.storageserver.commit.spool import Spool
from zeotwisted.storageserver.limits import LimitReached, TransactionLimits
from zeotwisted.storageserver.limits.budget import Budget
from zeotwisted.storageserver.limits.transactions import DiskReserve

from .openfiles import descriptors

HELD = ("spool-memory", "spool-limit", "file-limit")
KB = 1024


def held(server: Server) -> list[int]:
    """Return what all transactions hold: memory, room on disk, files."""
    report = server.limits.report()
    return [report[key].used for key in HELD]


def struck(server: Server, key: str) -> int:
    return server.limits.report()[key].struck


def store(client: PuppetClient, size: int, oid: bytes = OID_A) -> None:
    client.tell("storea", oid, z64, b"x" * size, 1)


def begun(server: Server) -> PuppetClient:
    client = server.client()
    client.tell("tpc_begin", 1, "", "", {})
    return client


# Memory, and then the disk.


def test_small_transactions_stay_in_memory_whatever_others_hold() -> None:
    server = Server(spool_memory=100 * KB)
    before = descriptors()
    greedy = begun(server)
    store(greedy, 90 * KB)
    assert descriptors() == before
    small = begun(server)
    store(small, 60 * KB)
    assert descriptors() == before
    assert held(server)[1:] == [0, 0]
    # What is more than that goes to disk at once.
    store(small, 10 * KB)
    assert descriptors() == before + 1
    assert struck(server, "spool-memory") == 1
    memory, disk, files = held(server)
    assert 90 * KB < memory < 91 * KB
    assert 70 * KB < disk < 71 * KB
    assert files == 1
    small.ask("vote", 1)
    small.ask("tpc_finish", 1)
    assert server.storage.load(OID_A)[0] == b"x" * 10 * KB
    assert held(server)[1:] == [0, 0]
    greedy.lose()
    assert held(server) == [0, 0, 0]
    assert descriptors() == before


@pytest.mark.parametrize("end", ["lose", "abort", "vote", "commit"])
def test_everything_is_free_at_the_end(end: str) -> None:
    server = Server(spool_memory=0)
    before = descriptors()
    client = begun(server)
    for number in range(21):
        store(client, 20 * KB, number.to_bytes(8, "big"))
    assert all(held(server)[1:])
    if end == "lose":
        client.lose()
    elif end == "abort":
        client.ask("tpc_abort", 1)
    else:
        client.ask("vote", 1)
        if end == "commit":
            client.ask("tpc_finish", 1)
        else:
            client.lose()
    assert held(server) == [0, 0, 0]
    assert descriptors() == before


# A transaction that is too much.


def refused(client: PuppetClient, text: str) -> None:
    """The vote fails with the reason, and the client may go on."""
    with pytest.raises(StorageError, match=text):
        client.ask("vote", 1)
    assert not client.dropped
    client.commit(2, OID_B)


def test_long_transaction() -> None:
    server = Server(transaction_limit=64 * KB)
    client = begun(server)
    store(client, 40 * KB)
    store(client, 40 * KB)
    assert held(server) == [0, 0, 0], "what came before is not needed any more"
    store(client, 40 * KB)
    assert held(server) == [0, 0, 0]
    refused(client, r"the transaction is too long \(transaction-limit 65536\)")
    assert struck(server, "transaction-limit") == 1


def test_operations() -> None:
    server = Server(operation_limit=3)
    client = begun(server)
    for _ in range(3):
        client.tell("checkCurrentSerialInTransaction", OID_A, z64, 1)
    store(client, 1)
    refused(client, r"too many operations \(operation-limit 3\)")
    assert held(server) == [0, 0, 0]


def test_as_many_operations_as_allowed() -> None:
    server = Server(operation_limit=3)
    client = server.client()
    client.commit(1, OID_A, OID_B, b"c" * 8)


def test_long_description() -> None:
    server = Server()
    client = server.client()
    client.tell("tpc_begin", 1, "", "x" * 300_000, {})
    refused(client, "description .* more than 262144 bytes")


def test_room_on_disk() -> None:
    server = Server(spool_memory=0, spool_limit=200 * KB)
    first, second = begun(server), begun(server)
    store(first, 150 * KB)
    store(second, 150 * KB)
    assert held(server)[2] == 1
    refused(second, r"too much room on the server's disk \(spool-limit 204800\)")
    first.ask("vote", 1)


def test_files() -> None:
    server = Server(spool_memory=0, file_limit=1)
    first, second = begun(server), begun(server)
    store(first, 150 * KB)
    store(second, 150 * KB)
    refused(second, r"too many long transactions at the same time \(file-limit 1\)")
    assert held(server)[2] == 1
    first.lose()
    third = begun(server)
    store(third, 150 * KB)
    third.ask("vote", 1)


# Disks that are almost full.


def almost_full(monkeypatch: pytest.MonkeyPatch, free: int, blocks: int = 2**20) -> None:
    disk = SimpleNamespace(f_bavail=free // KB, f_frsize=KB, f_blocks=blocks)
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: disk)


def test_some_of_the_disk_stays_free(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(spool_memory=0, disk_reserve=1000 * KB)
    almost_full(monkeypatch, 1100 * KB)
    fits = begun(server)
    store(fits, 90 * KB)
    fits.ask("vote", 1)
    fits.ask("tpc_abort", 1)
    client = begun(server)
    store(client, 110 * KB)
    refused(client, r"folder .* is almost full; make room there \(disk-reserve 1024000\)")
    assert held(server) == [0, 0, 0]


@pytest.mark.parametrize("blocks", [0, 20_000])
def test_less_of_a_small_disk_stays_free(monkeypatch: pytest.MonkeyPatch, blocks: int) -> None:
    reserve = DiskReserve(Budget("disk-reserve", 2**30))
    almost_full(monkeypatch, 2000 * KB, blocks)
    reserve.check(0, 900 * KB, "/tmp")
    if blocks:
        with pytest.raises(LimitReached):
            reserve.check(0, 1100 * KB, "/tmp")


def test_a_full_disk_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = TransactionLimits.unlimited()
    spool = Spool(in_memory=100, limits=limits)

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(type(spool._folder), "use", full)
    with pytest.raises(OSError, match="No space left"):
        spool.append((b"x" * 200,), 200)
    assert limits.files.used == limits.disk.used == limits.memory.used == 0


# Blobs.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


def blob_server(folder: Path, **options: Any) -> Server:
    return Server(BlobStorage(str(folder), MappingStorage()), **options)


def send_blob(client: PuppetClient, *sizes: int) -> None:
    client.tell("storeBlobStart")
    for size in sizes:
        client.tell("storeBlobChunk", b"x" * size)


def files(folder: Path) -> int:
    return sum(path.suffix != "" or "tmp" in path.parts for path in folder.rglob("tmp/*"))


def test_a_blob_takes_a_file_and_room(folder: Path) -> None:
    server = blob_server(folder)
    client = begun(server)
    send_blob(client, 1000, 2000)
    assert held(server) == [0, 3000, 1]
    client.tell("storeBlobEnd", OID_A, z64, b"data", 1)
    assert held(server)[1:] == [3000, 0]
    client.ask("vote", 1)
    client.ask("tpc_finish", 1)
    assert held(server) == [0, 0, 0]


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("end", ["lose", "abort"])
def test_a_blob_is_free_at_the_end(folder: Path, finished: bool, end: str) -> None:
    server = blob_server(folder)
    client = begun(server)
    send_blob(client, 1000)
    if finished:
        client.tell("storeBlobEnd", OID_A, z64, b"data", 1)
    if end == "lose":
        client.lose()
    else:
        client.ask("tpc_abort", 1)
    assert held(server) == [0, 0, 0]
    assert files(folder) == 0


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"transaction_limit": 64 * KB}, "transaction-limit 65536"),
        ({"spool_limit": 64 * KB}, "spool-limit 65536"),
    ],
)
def test_blob_that_is_too_long(folder: Path, options: dict[str, int], text: str) -> None:
    server = blob_server(folder, **options)
    client = begun(server)
    send_blob(client, 40 * KB, 40 * KB)
    assert held(server) == [0, 0, 0]
    assert files(folder) == 0
    client.tell("storeBlobEnd", OID_A, z64, b"data", 1)
    refused(client, text)


def test_blobs_that_are_too_long_together(folder: Path) -> None:
    server = blob_server(folder, transaction_limit=64 * KB)
    client = begun(server)
    for oid in (OID_A, OID_B):
        send_blob(client, 40 * KB)
        client.tell("storeBlobEnd", oid, z64, b"data", 1)
    assert held(server) == [0, 0, 0]
    assert files(folder) == 0
    refused(client, "transaction-limit")


def test_too_many_blobs(folder: Path) -> None:
    server = blob_server(folder, file_limit=1)
    first, second = begun(server), begun(server)
    send_blob(first, 10)
    send_blob(second, 10)
    refused(second, r"too many blobs are sent at the same time \(file-limit 1\)")
    first.lose()
    third = begun(server)
    send_blob(third, 10)
    third.tell("storeBlobEnd", OID_A, z64, b"data", 1)
    third.ask("vote", 1)


def test_almost_full_disk_of_blobs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = blob_server(folder, disk_reserve=1000 * KB)
    client = begun(server)
    almost_full(monkeypatch, 1010 * KB)
    send_blob(client, 1000, 40 * KB)
    refused(client, r"almost full; make room there \(disk-reserve")
    assert held(server) == [0, 0, 0]
    assert files(folder) == 0
