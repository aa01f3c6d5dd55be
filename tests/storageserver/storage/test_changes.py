"""What a storage tells of its last transactions when a server starts."""

from __future__ import annotations

import shutil
from pathlib import Path

from ZODB import DB
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.utils import p64, z64

from zeotwisted.storageserver.storage.changes import last_transaction


def test_transaction_of_a_killed_process_is_not_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "Data.fs"
    storage = FileStorage(str(path))
    with DB(storage).transaction() as connection:
        connection.root()["a"] = 1
    last = storage.lastTransaction()
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    storage.store(z64, storage.load(z64)[1], b"data", "", transaction)
    storage.tpc_vote(transaction)
    # What is on the disk if the process is killed now.
    shutil.copy(path, tmp_path / "Killed.fs")
    storage.tpc_abort(transaction)
    storage.close()
    killed = FileStorage(str(tmp_path / "Killed.fs"))
    assert killed.lastTransaction() > last, "FileStorage has changed: the function is not needed"
    assert last_transaction(killed) == last
    killed.close()


def test_rest_of_a_file_has_no_transaction(tmp_path: Path) -> None:
    """It may be a part of something, after a full disk and a loss of power, with any bytes."""
    path = tmp_path / "Data.fs"
    storage = FileStorage(str(path))
    DB(storage).close()
    last = storage.lastTransaction()
    with path.open("ab") as file:
        file.write(b"\0\0\0textq" + p64(10**9) + b"q" * 50)
    cut = FileStorage(str(path))
    assert cut.lastTransaction() < last, "FileStorage has changed: this test is not needed"
    assert last_transaction(cut) == last
    cut.close()


def test_storages_that_are_empty_or_in_memory(tmp_path: Path) -> None:
    empty = FileStorage(str(tmp_path / "Data.fs"))
    assert last_transaction(empty) == z64
    empty.close()
    assert last_transaction(MappingStorage()) == z64
    filled = MappingStorage()
    DB(filled)
    assert last_transaction(filled) == filled.lastTransaction() > z64
