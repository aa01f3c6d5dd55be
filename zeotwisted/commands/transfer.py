"""Copies transactions from any storage to any other, with their blobs.

A transaction is copied as a whole or not at all. So a copy that is interrupted is a beginning of
the source, and goes on after its last transaction.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from tempfile import mkstemp
from typing import IO, Any, NamedTuple

from ZODB.blob import is_blob_record
from ZODB.interfaces import IBlobStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import oid_repr, p64, tid_repr, u64, z64

from zeotwisted.clientstorage import ClientStorage

from .errors import CommandError

__all__ = [
    "Count",
    "Stopped",
    "Tell",
    "check_beginning",
    "copy_transactions",
    "count",
    "keeps_history",
]

#: Is told how many bytes were copied.
Tell = Callable[[int], object]


class Count(NamedTuple):
    """How much was copied, or is there."""

    transactions: int
    records: int
    blobs: int


def keeps_history(storage: Any) -> bool:
    """Return whether a storage keeps old revisions. RelStorage may be without."""
    return bool(getattr(storage, "keep_history", True))


def check_beginning(source: Any, destination: Any, last: bytes) -> None:
    """Check that the destination has the transactions of the source up to its last one, `last`.

    :raises CommandError: it has not.
    """
    found = _transactions(source, None, last)
    has_all = keeps_history(destination)
    for mine in _transactions(destination, None, last):
        theirs = next(found, None)
        while not has_all and theirs is not None and theirs.tid < mine.tid:
            theirs = next(found, None)
        if theirs is None or theirs.tid != mine.tid:
            raise _differs(mine.tid, "the source does not have")
        if mine.tid == last and has_all and _contents(mine) != _contents(theirs):
            raise _differs(mine.tid, "has other records in the source than")
    rest = next(found, None)
    if rest is not None and has_all:
        raise CommandError(
            f"the destination does not have transaction {tid_repr(rest.tid)} of the source, but "
            "later ones; copy into an empty storage"
        )


def _differs(tid: bytes, how: str) -> CommandError:
    what = f"transaction {tid_repr(tid)}"
    if how.startswith("has"):
        how = f"{what} {how} in the destination"
    else:
        how = f"the destination has {what}, which {how}"
    return CommandError(
        f"the destination is not a beginning of the source: {how}; copy into an empty storage, as "
        "one of them is another database, or was packed or used since"
    )


def _contents(transaction: Any) -> dict[bytes, bytes | None]:
    """Return a digest of each record. Storages have them in different orders."""
    return {
        record.oid: None if record.data is None else sha256(record.data).digest()
        for record in transaction
    }


def _transactions(storage: Any, start: bytes | None, stop: bytes | None) -> Iterator[Any]:
    return iter(storage.iterator(start, stop))


class Stopped(Exception):
    """The copy was asked to stop."""


def copy_transactions(
    source: Any,
    destination: Any,
    after: bytes,
    last: bytes,
    tell: Tell,
    warn: Callable[[str], None],
    stops: Callable[[], bool],
) -> Count:
    """Copy the transactions after the tid `after`, up to the tid `last`.

    :param warn: is called with a line about a blob that is missing in the source.
    :param stops: returns whether to stop. A transaction that is being finished is finished first.
    :raises Stopped: it has stopped.
    """
    start = None if after == z64 else p64(u64(after) + 1)
    transactions = records = blobs = size = 0
    for transaction in _transactions(source, start, last):
        destination.tpc_begin(transaction, transaction.tid, transaction.status)
        try:
            for record in transaction:
                if stops():
                    raise Stopped
                blobs += _copy(source, destination, transaction, record, warn)
                records += 1
                size += len(record.data or b"")
                tell(size)
            destination.tpc_vote(transaction)
            destination.tpc_finish(transaction)
        except BaseException:
            destination.tpc_abort(transaction)
            raise
        transactions += 1
    return Count(transactions, records, blobs)


def _copy(
    source: Any, destination: Any, transaction: Any, record: Any, warn: Callable[[str], None]
) -> bool:
    """Copy a record; return whether it has a blob."""
    blob = _open_blob(source, record, warn)
    if blob is None:
        destination.restore(record.oid, record.tid, record.data, "", record.data_txn, transaction)
        return False
    if not (IBlobStorage.providedBy(destination) or isinstance(destination, ClientStorage)):
        blob.close()
        raise CommandError(
            "the source has blobs, and the destination has no folder for them; add its blob-dir"
        )
    folder = None
    if IBlobStorage.providedBy(destination):
        folder = destination.temporaryDirectory()
        os.makedirs(folder, exist_ok=True)
    number, path = mkstemp(suffix=".tmp", dir=folder)
    try:
        with blob, os.fdopen(number, "wb") as file:
            shutil.copyfileobj(blob, file, 2**20)
        # It moves or removes the file.
        destination.restoreBlob(
            record.oid, record.tid, record.data, path, record.data_txn, transaction
        )
    finally:
        if os.path.exists(path):
            os.remove(path)
    return True


def _open_blob(source: Any, record: Any, warn: Callable[[str], None]) -> IO[bytes] | None:
    data = record.data
    if not data:
        return None
    is_blob = getattr(source, "is_blob_record", is_blob_record)(data)
    # A record that a wrapper has compressed or encrypted begins with a dot, and may be a blob's.
    if not is_blob and not (data.startswith(b".") and IBlobStorage.providedBy(source)):
        return None
    if not IBlobStorage.providedBy(source):
        raise CommandError(
            "the source has blobs, and was opened without a folder for them; add its blob-dir"
        )
    try:
        file: IO[bytes] = source.openCommittedBlobFile(record.oid, record.tid)
    except POSKeyError:
        if is_blob:
            warn(
                f"the blob of object {oid_repr(record.oid)}, transaction {tid_repr(record.tid)}, "
                "is missing in the source; its record is copied"
            )
        return None
    return file


def count(storage: Any, after: bytes) -> tuple[int, int]:
    """Return how many transactions after a tid a storage has, and how many records they have."""
    start = None if after == z64 else p64(u64(after) + 1)
    transactions = records = 0
    for transaction in _transactions(storage, start, None):
        transactions += 1
        records += sum(1 for _ in transaction)
    return transactions, records
