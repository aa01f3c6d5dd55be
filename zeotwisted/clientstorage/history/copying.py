"""Copies whole databases into a server, transaction by transaction, with their blobs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import IO, Any

from ZODB.blob import is_blob_record
from ZODB.interfaces import IBlobStorage
from ZODB.POSException import POSKeyError, Unsupported
from ZODB.utils import oid_repr, tid_repr

__all__ = ["copy_transactions", "warn_of_missing_blob"]

_log = logging.getLogger("zeotwisted.client")

#: Restores a revision with its blob: transaction, oid, tid, data, prev_txn, the blob's content.
RestoreBlob = Callable[[Any, bytes, bytes, bytes, "bytes | None", IO[bytes]], None]


def copy_transactions(
    source: Any, destination: Any, restore_blob: RestoreBlob, verbose: int = 0
) -> None:
    """Copy all transactions of a storage into another one, which must be able to restore them.

    Transactions that were copied before an error stay.

    :raises ZODB.POSException.Unsupported: there are blobs, and `source` was opened without
        ``blob_dir``, or `restore_blob` cannot restore them.
    """
    for transaction in source.iterator():
        if verbose:
            print(tid_repr(transaction.tid))
        destination.tpc_begin(transaction, transaction.tid, transaction.status)
        try:
            for record in transaction:
                if verbose:
                    print(oid_repr(record.oid), len(record.data or b""))
                _copy(source, destination, restore_blob, transaction, record)
            destination.tpc_vote(transaction)
            destination.tpc_finish(transaction)
        except BaseException:
            destination.tpc_abort(transaction)
            raise


def _copy(
    source: Any, destination: Any, restore_blob: RestoreBlob, transaction: Any, record: Any
) -> None:
    blob = _open_blob(source, record)
    if blob is None:
        destination.restore(record.oid, record.tid, record.data, "", record.data_txn, transaction)
        return
    with blob:
        restore_blob(transaction, record.oid, record.tid, record.data, record.data_txn, blob)


def _open_blob(source: Any, record: Any) -> IO[bytes] | None:
    data = record.data
    if not data:
        return None
    is_blob = getattr(source, "is_blob_record", is_blob_record)(data)
    # A record that a wrapper has compressed or encrypted begins with a dot. It may be a blob's
    # record, so look for a blob file.
    if not is_blob and not data.startswith(b"."):
        return None
    if not IBlobStorage.providedBy(source):
        if not is_blob:
            return None
        raise Unsupported(
            f"object {oid_repr(record.oid)} has a blob, and the source was opened without a folder "
            "for blobs; open it with blob_dir (blob-dir)"
        )
    try:
        return source.openCommittedBlobFile(record.oid, record.tid)
    except POSKeyError:
        if is_blob:
            warn_of_missing_blob(record.oid, record.tid)
        return None


def warn_of_missing_blob(oid: bytes, tid: bytes) -> None:
    """Log that a record of a blob is copied and the blob is not."""
    _log.warning(
        "the record of a blob (object %s, transaction %s) is copied without the blob, which is "
        "missing where it comes from",
        oid_repr(oid),
        tid_repr(tid),
    )
