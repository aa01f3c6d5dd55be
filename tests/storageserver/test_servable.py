"""Storages that would be served wrongly are refused, and all others are served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent
from ZODB.blob import BlobStorage
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.tests.hexstorage import HexStorage

import zeotwisted
from zeotwisted.daemon.opening import StartError
from zeotwisted.storageserver.engine import NotServable
from zeotwisted.storageserver.service import StorageServer

from .mvcc import Storage

WHY = (
    "cannot serve storage 'main': it is a {} around a Storage, which has views of the database of "
    "its own (IMVCCStorage), so clients would read old data; serve the Storage itself"
)


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (lambda storage, folder: HexStorage(storage), "HexStorage"),
        (lambda storage, folder: BlobStorage(folder, storage), "BlobStorage"),
        (lambda storage, folder: DemoStorage(base=storage), "DemoStorage"),
        (lambda storage, folder: DemoStorage(changes=storage), "DemoStorage"),
        (
            lambda storage, folder: DemoStorage(base=BlobStorage(folder, storage)),
            "DemoStorage",
        ),
    ],
    ids=["hex", "blobs", "base", "changes", "base with blobs"],
)
def test_storage_with_views_of_its_own(
    tmp_path: Path, wrap: Callable[[Any, str], Any], name: str
) -> None:
    other = MappingStorage()
    with pytest.raises(NotServable) as refused:
        StorageServer(None, {"other": other, "main": wrap(Storage(), str(tmp_path))})
    assert str(refused.value) == WHY.format(name)
    # It is the caller's to close.
    assert other.opened()


def test_other_storages(tmp_path: Path) -> None:
    address, stop = zeotwisted.server(threaded=True)
    client = zeotwisted.ClientStorage(address)
    file = FileStorage(str(tmp_path / "Data.fs"), blob_dir=str(tmp_path / "blobs"))
    try:
        StorageServer(
            None,
            {
                "mapping": MappingStorage(),
                "file": file,
                "blobs": BlobStorage(str(tmp_path / "more"), MappingStorage()),
                "hex": HexStorage(MappingStorage()),
                "demo": DemoStorage(base=file),
                "client": client,
            },
        )
    finally:
        client.close()
        file.close()
        stop()


@pytest.mark.parametrize("threaded", [True, False])
def test_function(tmp_path: Path, threaded: bool) -> None:
    """What is open already is closed again."""
    section = (
        "%import tests.storageserver.mvcc\n"
        f"<demostorage main>\n<mvccstorage>\n closed {tmp_path / 'closed'}\n</mvccstorage>\n"
        "</demostorage>\n"
        f"<filestorage file>\n path {tmp_path / 'Data.fs'}\n</filestorage>\n"
    )
    with pytest.raises(StartError) as refused:
        zeotwisted.server(storage_conf=section, threaded=threaded)
    assert str(refused.value) == WHY.format("DemoStorage")
    assert (tmp_path / "closed").exists()
    FileStorage(str(tmp_path / "Data.fs")).close()


@pytest.mark.parametrize("driver", ["sqlite3", "gevent sqlite3"])
def test_a_driver_for_gevent(tmp_path: Path, driver: str) -> None:
    pytest.importorskip("relstorage", reason="RelStorage is not installed; it is in `test`")
    pytest.importorskip("gevent", reason="gevent is not installed; it is in the extra `test`")
    section = (
        "%import relstorage\n<relstorage main>\n<sqlite3>\n"
        f"driver {driver}\ndata-dir {tmp_path / 'data'}\n</sqlite3>\n</relstorage>\n"
    )
    with capturedLogs() as events:
        _, stop = zeotwisted.server(storage_conf=section, threaded=True)
        stop()
    warned = [text for text in map(formatEvent, events) if "'driver" in text]
    assert len(warned) == (driver != "sqlite3")
    for message in warned:
        assert "storage 'main'" in message
        assert "write 'driver sqlite3' into its section" in message
