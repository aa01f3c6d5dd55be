"""Databases of RelStorage with histories that have everything that a load may meet."""

from __future__ import annotations

from base64 import encodebytes
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from relstorage.adapters.postgresql import PostgreSQLAdapter
from relstorage.options import Options
from relstorage.storage import RelStorage
from ZODB.blob import BlobStorage
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import maxtid, p64, u64, z64

__all__ = [
    "OIDS",
    "Writer",
    "all_oids",
    "all_tids",
    "make_file_history",
    "open_relstorage",
    "take_data",
]

#: More than there are objects.
OIDS = [p64(number) for number in range(12)]

_MISSING = (p64(2**40), b"\xff" * 8)


def open_relstorage(dsn: str, keep_history: bool, blob_dir: Path) -> Any:
    options = Options(
        keep_history=keep_history,
        cache_local_mb=0,
        blob_dir=str(blob_dir),
        shared_blob_dir=False,
        driver="psycopg2",
    )
    return RelStorage(PostgreSQLAdapter(dsn=dsn, options=options), options=options)


class Writer:
    """Writes transactions to a storage."""

    def __init__(self, storage: Any) -> None:
        self.storage = storage
        self.serials: dict[bytes, bytes] = {}

    def commit(self, records: dict[bytes, bytes], blob: Path | None = None) -> bytes:
        """Store records; with `blob`, the first one is that of a blob."""
        storage, transaction = self.storage, TransactionMetaData()
        storage.tpc_begin(transaction)
        for oid, data in records.items():
            serial = self.serials.get(oid, z64)
            if blob is None:
                storage.store(oid, serial, data, "", transaction)
            else:
                storage.storeBlob(oid, serial, data, str(blob), "", transaction)
                blob = None
        storage.tpc_vote(transaction)
        tid: bytes = storage.tpc_finish(transaction)
        self.serials.update(dict.fromkeys(records, tid))
        return tid

    def undo(self, tid: bytes) -> None:
        storage, transaction = self.storage, TransactionMetaData()
        storage.tpc_begin(transaction)
        storage.undo(encodebytes(tid).rstrip(), transaction)
        storage.tpc_vote(transaction)
        undone: bytes = storage.tpc_finish(transaction)
        for oid, serial in self.serials.items():
            if serial == tid:
                self.serials[oid] = undone

    def delete(self, oid: bytes) -> None:
        storage, transaction = self.storage, TransactionMetaData()
        storage.tpc_begin(transaction)
        storage.deleteObject(oid, self.serials.pop(oid), transaction)
        storage.tpc_vote(transaction)
        storage.tpc_finish(transaction)

    def commit_some(self, random: Random, count: int, folder: Path) -> None:
        """Commit random transactions."""
        for number in range(count):
            oids = random.sample(OIDS[:8], random.randint(1, 4))
            records = {oid: random.randbytes(random.choice((1, 50, 3000, 9000))) for oid in oids}
            blob = None
            if random.random() < 0.2:
                blob = folder / f"blob{number}"
                blob.write_bytes(b"blob")
            self.commit(records, blob)


def make_file_history(folder: Path, seed: int) -> None:
    """Fill a FileStorage in `folder`, with undone creations, undone changes and deleted objects."""
    random = Random(seed)
    with closing(FileStorage(str(folder / "Data.fs"))) as files:
        storage = BlobStorage(str(folder / "blobs"), files)
        writer = Writer(storage)
        writer.commit_some(random, 12, folder)
        created = writer.commit({OIDS[8]: b"its creation is undone", OIDS[9]: b"likewise"})
        writer.undo(created)
        del writer.serials[OIDS[8]], writer.serials[OIDS[9]]
        writer.undo(writer.commit({OIDS[0]: b"undone"}))
        writer.commit({OIDS[10]: b"is deleted"})
        writer.delete(OIDS[10])
        writer.commit_some(random, 6, folder)


def all_tids(dsn: str) -> list[bytes]:
    """Return all tids of a database and their neighbours, and what lies at the borders."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT DISTINCT tid FROM object_state").fetchall()
    near = {p64(number + step) for (number,) in rows for step in (-1, 0, 1)}
    borders = {z64, p64(1), p64(u64(maxtid) - 1), maxtid, b"\x80" + b"\0" * 7, b"\xff" * 8}
    return sorted(near | borders)


def all_oids() -> list[bytes]:
    return [*OIDS, *_MISSING]


def take_data(dsn: str) -> None:
    """Take the data away from the current revisions of two objects, in both possible ways."""
    with psycopg.connect(dsn) as connection:
        for number, state in ((5, None), (6, b"")):
            connection.execute(
                "UPDATE object_state SET state = %s, state_size = 0 WHERE zoid = %s AND tid = "
                "(SELECT max(tid) FROM object_state WHERE zoid = %s)",
                (state, number, number),
            )
