"""Reads a FileStorage's history and undo log, with the extensions as they are stored.

``FileStorage.history`` and ``undoLog`` unpickle the extensions. Clients wrote these pickles, so the
daemon would run code of the clients. This module reads the same records, and unpickles nothing.
"""

from __future__ import annotations

from base64 import encodebytes
from collections.abc import Callable, Iterator
from struct import unpack
from typing import IO, Any

from ZODB.FileStorage.format import TRANS_HDR, TRANS_HDR_LEN
from ZODB.POSException import UndoError
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import u64

__all__ = ["history", "undo_log"]

_Entry = tuple[dict[str, Any], bytes]

#: The position of the first transaction, after the file's magic bytes.
_START = 4


def history(storage: Any, oid: bytes, size: int) -> list[_Entry]:
    """Return the last `size` revisions of an object, newest first.

    :param storage: a FileStorage.
    :raises ZODB.POSException.POSKeyError: there is no such object.
    """
    entries: list[_Entry] = []
    with storage._lock:
        position = storage._lookup_pos(oid)
        while position and len(entries) < size:
            record = storage._read_data_header(position)
            transaction = storage._read_txn_header(record.tloc)
            own = {
                "time": TimeStamp(record.tid).timeTime(),
                "user_name": transaction.user,
                "description": transaction.descr,
                "tid": record.tid,
                "size": record.plen,
            }
            entries.append((own, transaction.ext))
            position = record.prev
    return entries


def undo_log(
    storage: Any, first: int, last: int, wanted: Callable[[_Entry], bool] | None = None
) -> list[_Entry]:
    """Return transactions that can be undone, newest first.

    :param storage: a FileStorage.
    :param first: how many transactions to skip.
    :param last: the index after the last transaction to return. If it is negative: minus the number
        of transactions to return.
    :param wanted: returns whether an entry is wanted. The others are not counted.
    :raises ZODB.POSException.UndoError: the storage is being packed.
    """
    if last < 0:
        last = first - last
    entries: list[_Entry] = []
    if last <= 0:
        return entries
    with storage._lock:
        if storage._pack_is_in_progress:
            raise UndoError("there is no undo log while the storage is packed; try again later")
        # An open file stays readable if a pack replaces it after the lock is released.
        end, file = storage._pos, open(storage._file_name, "rb")  # noqa: SIM115
    number = 0
    with file:
        for entry in _backwards(file, end):
            if wanted is not None and not wanted(entry):
                continue
            if number >= first:
                entries.append(entry)
            number += 1
            if number >= last:
                break
    return entries


def _backwards(file: IO[bytes], end: int) -> Iterator[_Entry]:
    """Yield the transactions that can be undone, from the end of the file to the last pack."""
    while end > _START:
        # The file repeats the length of a transaction after it.
        file.seek(end - 8)
        end -= u64(file.read(8)) + 8
        if end < _START:
            return
        file.seek(end)
        tid, length, status, *lengths = unpack(TRANS_HDR, file.read(TRANS_HDR_LEN))
        if status == b"p":
            return
        if status == b" ":
            user, description, extension = map(file.read, lengths)
            own = {
                "id": encodebytes(tid).rstrip(),
                "time": TimeStamp(tid).timeTime(),
                "user_name": user,
                "description": description,
                "size": length,
            }
            yield own, extension
