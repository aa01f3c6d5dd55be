"""A database that is copied is the same one: records, metadata, and blobs."""

from __future__ import annotations

import datetime
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZEO.ClientStorage
import ZODB
from BTrees.OOBTree import OOBTree
from ZODB.BaseStorage import copy
from ZODB.blob import Blob, copyTransactionsFromTo, is_blob_record
from ZODB.FileStorage import FileStorage
from ZODB.interfaces import IBlobStorage, IBlobStorageRestoreable
from ZODB.POSException import UndoError, Unsupported
from ZODB.tests.hexstorage import HexStorage
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import p64, z64

from .support import World, store

BLOBS = "<filestorage>\n path {0}/Data.fs\n blob-dir {0}/blobs\n</filestorage>\n"


def _fill(storage: Any, with_blobs: bool = True) -> None:
    """Make a history: revisions, undone ones, an undone creation, odd metadata, and a pack."""
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        connection.root()["tree"] = OOBTree()
    if with_blobs:
        for number in range(6):
            with db.transaction("a note") as connection:
                tree = connection.root()["tree"]
                blob = tree.setdefault("blob", Blob()) if number == 0 else tree["blob"]
                with blob.open("w") as file:
                    file.write(b"revision %d" % number * 10_000)
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    for number in range(5):
        txn = manager.get()
        txn.setUser("J\xf6rg")
        txn.setExtendedInfo("tags", ["a", number])
        txn.setExtendedInfo("when", datetime.datetime(2020, 1, 2))
        connection.root()["tree"][f"key {number}"] = "value" * number
        manager.commit()
    if with_blobs:
        with connection.root()["tree"].setdefault("second", Blob()).open("w") as file:
            file.write(b"second")
        manager.commit()
    for first in (0, 2, 4):
        # The last one, and others behind it; of the undone ones, too.
        try:
            db.undo(db.undoLog(first, first + 1)[0]["id"], manager.get())
            manager.commit()
        except UndoError:
            manager.abort()
    if with_blobs:
        with connection.root()["tree"]["blob"].open("w") as file:
            file.write(b"the last one")
        manager.commit()
        db.undo(db.undoLog(0, 1)[0]["id"], manager.get())
        manager.commit()
    connection.close()
    times = [TimeStamp(each.tid).timeTime() for each in storage.iterator()]
    storage.pack(times[3], ZODB.serialize.referencesf)


def _all(storage: Any) -> list[Any]:
    """Return all that a storage has."""
    found = []
    for each in storage.iterator():
        metadata = each.tid, each.status, each.user, each.description, each.extension_bytes
        records = [
            (record.oid, record.tid, record.data, record.data_txn, _blob(storage, record))
            for record in each
        ]
        found.append((metadata, records))
    return found


def _blob(storage: Any, record: Any) -> bytes | None:
    if not is_blob_record(record.data) or not IBlobStorage.providedBy(storage):
        return None
    return Path(storage.loadBlob(record.oid, record.tid)).read_bytes()


def _file(folder: Path, name: str, blobs: bool = True) -> FileStorage:
    blob_dir = str(folder / f"{name}.blobs") if blobs else None
    return FileStorage(str(folder / f"{name}.fs"), blob_dir=blob_dir)


@pytest.mark.parametrize("own_folder", [True, False], ids=["folder", "no folder"])
def test_there_and_back(world: World, tmp_path: Path, own_folder: bool) -> None:
    source, back = _file(tmp_path, "Source"), _file(tmp_path, "Back")
    _fill(source)
    server = world.server(storage=BLOBS.format(tmp_path))
    into = world.client(
        server.address, **({"blob_dir": str(tmp_path / "cache")} if own_folder else {})
    )
    assert IBlobStorageRestoreable.providedBy(into) == own_folder
    into.copyTransactionsFrom(source)
    expected = _all(source)
    blobs = {blob for _, records in expected for *_, blob in records}
    assert {b"second", b"the last one"} < blobs and len(blobs) >= 5
    reader = world.client(server.address, blob_dir=str(tmp_path / "other"))
    assert _all(reader) == expected
    back.copyTransactionsFrom(reader)
    assert _all(back) == expected
    reader.close()
    into.close()
    server.stop()
    with open(tmp_path / "Source.fs", "rb") as one, open(tmp_path / "Data.fs", "rb") as other:
        assert one.read() == other.read()
    assert _files(tmp_path / "Source.blobs") == _files(tmp_path / "blobs")
    assert os.listdir(tmp_path / "blobs" / "tmp") == []
    source.close()
    back.close()


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*.blob")}


@pytest.mark.parametrize("by_zodb", [False, True])
def test_into_a_shared_folder(world: World, tmp_path: Path, by_zodb: bool) -> None:
    """ZODB's own function for copies, which other storages use, copies blobs as well."""
    source = _file(tmp_path, "Source")
    _fill(source)
    server = world.server(storage=BLOBS.format(tmp_path))
    storage = world.client(server.address, blob_dir=str(tmp_path / "blobs"), shared_blob_dir=True)
    if by_zodb:
        copyTransactionsFromTo(source, storage)
    else:
        storage.copyTransactionsFrom(source)
    assert _all(storage) == _all(source)
    source.close()


def test_between_two_servers(world: World, tmp_path: Path) -> None:
    """Blobs go through the cache of the one that is copied."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    servers = [world.server(storage=BLOBS.format(folder)) for folder in (one, other)]
    first = _file(tmp_path, "Source")
    _fill(first)
    source, destination = (
        world.client(server.address, blob_dir=str(tmp_path / f"cache{number}"))
        for number, server in enumerate(servers)
    )
    source.copyTransactionsFrom(first)
    destination.copyTransactionsFrom(source)
    assert _all(destination) == _all(first)
    first.close()


def test_through_a_server_that_is_a_client(world: World, tmp_path: Path) -> None:
    host, port = world.server(storage=BLOBS.format(tmp_path)).address
    relay = world.server(
        storage=f"%import zeotwisted\n<clientstorage>\n server {host}:{port}\n"
        f" blob-dir {tmp_path}/relay\n</clientstorage>\n"
    )
    source = _file(tmp_path, "Source")
    _fill(source)
    storage = world.client(relay.address, blob_dir=str(tmp_path / "cache"))
    storage.copyTransactionsFrom(source)
    assert _all(storage) == _all(source)
    source.close()


def test_compressed_records(world: World, tmp_path: Path) -> None:
    """Whoever wraps storages has records that do not show what they are."""
    hidden = _file(tmp_path, "Source")
    _fill(HexStorage(hidden))
    hidden.close()
    source = _file(tmp_path, "Source")
    storage = world.client(
        world.server(storage=BLOBS.format(tmp_path)).address, blob_dir=str(tmp_path / "cache")
    )
    storage.copyTransactionsFrom(source)
    blobs = 0
    for each in source.iterator():
        for record in each:
            path = source.fshelper.getBlobFilename(record.oid, record.tid)
            if os.path.exists(path):
                copied = storage.loadBlob(record.oid, record.tid)
                assert Path(copied).read_bytes() == Path(path).read_bytes()
                blobs += 1
    assert blobs >= 4
    source.close()


@pytest.mark.parametrize("package", ["zeotwisted", "ZEO"])
def test_version_5_cannot(world: World, tmp_path: Path, package: str) -> None:
    source = _file(tmp_path, "Source")
    _fill(source)
    options = () if package == "ZEO" else ("protocol-limit 5",)
    server = world.server(package, *options, storage=BLOBS.format(tmp_path))
    storage = world.client(server.address, blob_dir=str(tmp_path / "cache"))
    assert not IBlobStorageRestoreable.providedBy(storage)
    with pytest.raises(Unsupported, match="speaks version 5 of the protocol cannot restore blobs"):
        storage.copyTransactionsFrom(source)
    # It is over, and the storage can be used.
    store(storage, p64(1000), b"data")
    source.close()


def test_storage_without_blobs(world: World, tmp_path: Path) -> None:
    source = _file(tmp_path, "Source")
    _fill(source)
    storage = world.client(world.server().address, blob_dir=str(tmp_path / "cache"))
    with pytest.raises(Unsupported, match=r"cannot restore blobs; give it .* \(blob-dir\)"):
        storage.copyTransactionsFrom(source)
    store(storage, p64(1000), b"data")
    source.close()


def test_source_that_was_opened_without_its_blobs(world: World, tmp_path: Path) -> None:
    source = _file(tmp_path, "Source")
    _fill(source)
    source.close()
    source = _file(tmp_path, "Source", blobs=False)
    storage = world.client(world.server(storage=BLOBS.format(tmp_path)).address)
    with pytest.raises(Unsupported, match="the source was opened without a folder for blobs"):
        storage.copyTransactionsFrom(source)
    store(storage, p64(1000), b"data")
    source.close()


def test_missing_blob(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The rest is copied, and the log says what was not there."""
    source = _file(tmp_path, "Source")
    _fill(source)
    path = next(iter(sorted((tmp_path / "Source.blobs").rglob("*.blob"))))
    path.unlink()
    storage = world.client(
        world.server(storage=BLOBS.format(tmp_path)).address, blob_dir=str(tmp_path / "cache")
    )
    caplog.set_level(logging.WARNING)
    storage.copyTransactionsFrom(source)
    assert len(list(storage.iterator())) == len(list(source.iterator()))
    assert "is copied without the blob, which is missing where it comes from" in caplog.text
    source.close()


def test_copy_by_ZODB_is_not_silent(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = _file(tmp_path, "Source")
    _fill(source)
    storage = world.client(world.server(storage=BLOBS.format(tmp_path)).address)
    copy(source, storage)
    assert "is copied without the blob" in caplog.text
    source.close()


@pytest.mark.parametrize("section", ["mappingstorage", "demostorage"])
def test_storage_that_cannot_restore(world: World, tmp_path: Path, section: str) -> None:
    source = _file(tmp_path, "Source", blobs=False)
    _fill(source, with_blobs=False)
    server = world.server(storage=f"<{section}>\n</{section}>\n")
    storage = world.client(server.address)
    with pytest.raises(Exception, match=r"cannot restore|status|argument"):
        storage.copyTransactionsFrom(source)
    world.failures.clear()
    source.close()


def test_abandoned_copy_leaves_nothing(world: World, tmp_path: Path) -> None:
    storage = world.client(
        world.server(storage=BLOBS.format(tmp_path)).address, blob_dir=str(tmp_path / "cache")
    )
    source = _file(tmp_path, "Source")
    _fill(source)
    each = next(iter(source.iterator()))
    storage.tpc_begin(each, each.tid, each.status)
    content = tmp_path / "content"
    content.write_bytes(b"content")
    record = b"\x80\x03cZODB.blob\nBlob\nq\x00."
    storage.restoreBlob(p64(77), each.tid, record, str(content), None, each)
    assert not content.exists()
    storage.tpc_vote(each)
    storage.tpc_abort(each)
    assert _files(tmp_path / "blobs") == set()
    assert os.listdir(tmp_path / "blobs" / "tmp") == []
    assert storage.lastTransaction() == z64
    source.close()


def test_zeos_client_reads_what_was_copied(world: World, tmp_path: Path) -> None:
    source = _file(tmp_path, "Source")
    _fill(source)
    server = world.server(storage=BLOBS.format(tmp_path))
    world.client(server.address).copyTransactionsFrom(source)
    stock = ZEO.ClientStorage.ClientStorage(
        server.address, wait_timeout=20, blob_dir=str(tmp_path / "cache")
    )
    world.callback(stock.close)
    assert [records for _, records in _all(stock)] == [records for _, records in _all(source)]
    source.close()


def test_new_objects_after_a_copy(world: World, tmp_path: Path) -> None:
    """They get other oids than those that came with the copy."""
    storage = world.client(world.server(storage=BLOBS.format(tmp_path)).address)
    storage.new_oid()
    source = _file(tmp_path, "Source")
    _fill(source)
    storage.copyTransactionsFrom(source)
    oids = {record.oid for each in source.iterator() for record in each}
    assert storage.new_oid() not in oids
    source.close()
