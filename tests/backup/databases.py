"""Databases to back up, and what has to be the same afterwards."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob, is_blob_record
from ZODB.FileStorage import FileStorage
from ZODB.serialize import referencesf

__all__ = ["Database", "contents"]


class Database:
    """A FileStorage with blobs, in a folder, that changes in all ways that there are."""

    def __init__(self, folder: Path, blobs: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = str(folder / "Data.fs")
        self.blobs = str(folder / "blobs") if blobs else None
        self._count = 0

    @property
    def arguments(self) -> list[str]:
        """The arguments of ``zeotwisted backup``."""
        return ["--file", self.file, *(["--blobs", self.blobs] if self.blobs else [])]

    @contextlib.contextmanager
    def opened(self) -> Iterator[Any]:
        """Open it, and yield the database."""
        with closing(ZODB.DB(FileStorage(self.file, blob_dir=self.blobs))) as database:
            yield database

    def change(self, times: int = 1) -> None:
        """Commit some transactions: new objects, changed ones, blobs, undo, odd metadata."""
        with self.opened() as database:
            for _ in range(times):
                self._change(database)

    def _change(self, database: Any) -> None:
        number = self._count
        self._count += 1
        with database.transaction(note=f"number {number} \u00fc") as connection:
            root = connection.root()
            root[f"object {number % 7}"] = PersistentMapping(number=number, text="x" * number * 50)
            root["count"] = number
            if self.blobs:
                blob = root.setdefault(f"blob {number % 3}", Blob())
                with blob.open("w") as file:
                    file.write(b"content %d " % number * number)
            meta = connection.transaction_manager.get()
            meta.setUser("someone")
            meta.setExtendedInfo("number", number)
        if number % 4 == 3:
            database.undo(database.undoInfo(0, 1)[0]["id"])
            transaction.commit()
        if number % 8 == 7:
            # The undo is undone.
            database.undo(database.undoInfo(0, 1)[0]["id"])
            transaction.commit()

    def pack(self) -> None:
        """Pack it to now."""
        with self.opened() as database:
            database.storage.pack(time.time(), referencesf)

    def restore_from(self, folder: Path) -> None:
        """Put back an older copy."""
        shutil.rmtree(self.folder)
        shutil.copytree(folder, self.folder)

    def last(self) -> bytes:
        """Return the tid of the last transaction."""
        with closing(FileStorage(self.file, read_only=True)) as storage:
            tid: bytes = storage.lastTransaction()
        return tid

    def tids(self) -> list[bytes]:
        """Return all tids."""
        with closing(FileStorage(self.file, read_only=True)) as storage:
            return [each.tid for each in storage.iterator()]


def contents(file: str, blobs: str | None, until: bytes | None = None) -> list[Any]:
    """Return all that a FileStorage has: transactions, records, and blobs of all revisions."""
    found: list[Any] = []
    with closing(FileStorage(file, read_only=True, blob_dir=blobs)) as storage:
        for each in storage.iterator(None, until):
            found.append((each.tid, each.status, each.user, each.description, each.extension_bytes))
            for record in each:
                found.append((record.oid, record.tid, record.data, record.data_txn))
                if blobs and record.data and is_blob_record(record.data):
                    with open(storage.loadBlob(record.oid, record.tid), "rb") as blob:
                        found.append(blob.read())
        if until is None and blobs:
            count = sum(isinstance(each, bytes) for each in found)
            assert count == len([*Path(blobs).rglob("*.blob")]), "there are more blobs than records"
    return found
