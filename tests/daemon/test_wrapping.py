"""A storage of another package that changes the form of records, around a FileStorage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZEO
import ZODB
from BTrees.Length import Length
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.tests.hexstorage import HexStorage

import zeotwisted

from .conftest import Running, commit, daemon, folder, opened, read, run
from .test_mistakes import refused

__all__ = ["daemon", "folder", "run"]

TEXT = """\
%import tests.storageserver.wrapping
<zeo>
  address 127.0.0.1:0
</zeo>
<KINDstorage 1>
  <filestorage>
    path Data.fs
    blob-dir blobs
  </filestorage>
</KINDstorage>
"""


class ClientHexStorage(HexStorage):
    """The client's side of a ServerHexStorage, with the arguments of today's ZODB."""

    def invalidate(self, transaction_id: bytes, oids: Any) -> None:
        self.db.invalidate(transaction_id, oids)


def write(folder: Path, kind: str = "hex") -> None:
    (folder / "zeo.conf").write_text(TEXT.replace("KIND", kind))


def client(ends: str, kind: str, address: Any, folder: Path) -> Any:
    """Open a database as a client, with its own records in hexadecimal if the daemon wants that."""
    own = str(folder / f"blobs of {ends} {len(list(folder.iterdir()))}")
    if ends == "ours":
        storage = zeotwisted.ClientStorage(address, wait_timeout=10, blob_dir=own, server_sync=True)
    else:
        storage = ZEO.client(address, wait_timeout=10, blob_dir=own, server_sync=True)
    return ZODB.DB(ClientHexStorage(storage) if kind == "serverhex" else storage)


@pytest.mark.parametrize("ends", ["ours", "stock"])
@pytest.mark.parametrize("kind", ["hex", "serverhex"])
def test_everything(folder: Path, daemon: Callable[..., Running], kind: str, ends: str) -> None:
    write(folder, kind)
    address = daemon("-C", "zeo.conf").address
    databases = [client(ends, kind, address, folder) for _ in range(2)]
    managers = [transaction.TransactionManager() for _ in databases]
    try:
        connections = [
            database.open(manager) for database, manager in zip(databases, managers, strict=True)
        ]
        first, second = (connection.root() for connection in connections)
        first["length"], first["text"] = Length(), "old"
        first["blob"] = Blob(b"of a blob")
        managers[0].commit()
        managers[1].begin()
        with second["blob"].open() as file:
            assert file.read() == b"of a blob"
        # Both change the same object. The later one is resolved.
        first["length"].change(1)
        second["length"].change(2)
        managers[0].commit()
        managers[1].commit()
        managers[0].begin()
        assert first["length"]() == 3
        first["text"] = "new"
        managers[0].commit()
        databases[0].undo(databases[0].undoInfo(0, 1)[0]["id"], managers[0].get())
        managers[0].commit()
        managers[1].begin()
        assert second["text"] == "old"
        assert len(databases[0].history(first._p_oid, 9)) > 2
        databases[0].pack()
        assert second["length"]() == 3
        for connection in connections:
            connection.close()
    finally:
        for database in databases:
            database.close()
    written = FileStorage(str(folder / "Data.fs"), read_only=True)
    forms = {record.data[:2] for each in written.iterator() for record in each if record.data}
    written.close()
    # The first transaction makes the root, in the server's process, or a client's.
    assert b".h" in forms


def test_a_restart(folder: Path, daemon: Callable[..., Running]) -> None:
    write(folder)
    running = daemon("-C", "zeo.conf")
    commit(running.address, "a", 1)
    running.stop()
    assert read(daemon("-C", "zeo.conf").address, "a") == 1


def test_locked(folder: Path, daemon: Callable[..., Running]) -> None:
    write(folder)
    running = daemon("-C", "zeo.conf")
    assert refused(folder, "--pidfile", "", "zeo", "-C", "zeo.conf") == (
        "cannot open storage '1': Data.fs is locked, since another process has it open; "
        "stop that process, or serve another file"
    )
    with opened(running.address):
        pass


def test_being_restored(folder: Path) -> None:
    write(folder)
    (folder / "Data.fs.part").write_bytes(b"FS30")
    assert refused(folder, "zeo", "-C", "zeo.conf").startswith(
        f"cannot open storage '1': it is being restored, as {folder}/Data.fs.part exists; "
    )
