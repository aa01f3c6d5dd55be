"""Reads a restored database, and compares each record and blob with what was backed up.

It uses FileStorage's own iterator. The checksums are those of what the source has said, before it
was formatted, compressed and stored.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import chain
from typing import Any

from ZODB.blob import FilesystemHelper, is_blob_record
from ZODB.FileStorage.FileStorage import FileIterator
from ZODB.FileStorage.format import CorruptedError
from ZODB.fsIndex import fsIndex

from .checking import ListedBlob, file_digest
from .content import Content, data_digest
from .errors import BackupError
from .losses import Losses
from .parts import decompressed
from .restoring import BLOBS, DATA, Report, Restored
from .source import may_be_blob

__all__ = ["read_back"]


def read_back(
    folder: str, restored: Restored, until: bytes | None, report: Report, losses: Losses
) -> tuple[int, bytes]:
    """Compare what is in a folder; write the index of the ``Data.fs``.

    :param losses: the blobs that are left out; gets those that a damaged list does not have.
    :return: the number of transactions, and the tid of the last one; empty if there is none.
    :raises BackupError: it is not what was backed up.
    """
    reader = _Reader(folder, restored, until, report, losses)
    try:
        return reader.read()
    except CorruptedError as error:
        raise _wrong(f"{os.path.join(folder, DATA)} cannot be read ({error})") from None


def _wrong(what: str) -> BackupError:
    return BackupError(
        f"what was written is not what was backed up: {what}; check the disk and the memory of "
        "this machine, and try again"
    )


class _Reader:
    def __init__(
        self, folder: str, restored: Restored, until: bytes | None, report: Report, losses: Losses
    ) -> None:
        self._folder = folder
        self._restored = restored
        self._report = report
        self._losses = losses
        pieces = [piece for piece, _ in restored.pieces]
        self._blobs: Iterator[ListedBlob] = (
            blob
            for blob in chain.from_iterable(map(losses.in_order, pieces))
            if (until is None or blob.tid <= until) and (blob.oid, blob.tid) not in losses.blobs
        )
        self._next_blob = next(self._blobs, None)
        self._missing = {which for piece in pieces for which in losses.missing(piece)}
        self._helper = FilesystemHelper(os.path.join(folder, BLOBS), "bushy")
        self._index = fsIndex()
        self._count = 0
        self._last = b""

    def read(self) -> tuple[int, bytes]:
        path = os.path.join(self._folder, DATA)
        iterator = FileIterator(path)
        try:
            for piece, parts in self._restored.pieces:
                for part in parts:
                    content = self._content(iterator, part.transactions)
                    if content != part.content:
                        raise _wrong(
                            f"the transactions up to {part.last}, of {piece.file(part.name)}"
                        )
            if self._restored.cut is not None:
                self._check_cut(path)
                self._content(iterator, None)
            if next(iterator, None) is not None:
                raise _wrong(f"{path} has more transactions")
        finally:
            iterator.close()
        if self._next_blob is not None:
            raise _wrong(f"the record of the blob {self._next_blob.path} is not there")
        if self._count:
            self._index.save(self._restored.end, path + ".index")
        return self._count, self._last

    def _content(self, iterator: Any, count: int | None) -> str:
        """Return the checksum of some transactions; of all that there are, without a number."""
        content = Content()
        while count is None or count > 0:
            transaction = next(iterator, None)
            if transaction is None:
                break
            self._add(transaction, content)
            count = None if count is None else count - 1
        return content.hexdigest()

    def _add(self, transaction: Any, content: Content) -> None:
        content.transaction(
            transaction.tid,
            transaction.status.encode(),
            transaction.user,
            transaction.description,
            transaction.extension_bytes,
        )
        blobs: set[bytes] = set()
        positions = {}
        for record in transaction:
            content.record(record.oid, record.tid, record.data_txn, data_digest(record.data))
            positions[record.oid] = record.pos
            if may_be_blob(record.data) and record.oid not in blobs:
                blobs.add(record.oid)
                self._check_blob(record)
        self._index.update(positions)
        self._count += 1
        self._last = transaction.tid
        done = max(positions.values(), default=0)
        self._report(done, self._count, done / self._restored.end)

    def _check_blob(self, record: Any) -> None:
        which = record.oid, record.tid
        if which in self._losses.blobs:
            return
        listed = self._next_blob
        is_next = listed is not None and (listed.oid, listed.tid) == which
        if not is_next:
            listed = self._losses.in_damaged_list(*which)
        if listed is None:
            self._check_unlisted(record)
            return
        path = self._helper.getBlobFilename(*which)
        if file_digest(path) != listed.digest:
            raise _wrong(path)
        if is_next:
            self._next_blob = next(self._blobs, None)

    def _check_unlisted(self, record: Any) -> None:
        which = record.oid, record.tid
        if which in self._missing:
            return
        is_blob = is_blob_record(record.data)
        self._losses.leave_out_unlisted(*which, is_blob)
        if is_blob and which not in self._losses.blobs:
            raise _wrong(f"the blob of {record.oid.hex()} at {record.tid.hex()} is missing")

    def _check_cut(self, path: str) -> None:
        """Compare the bytes of the last part, of which only some transactions are there."""
        assert self._restored.cut is not None
        name, part = self._restored.cut
        left = self._restored.end - part.start
        with open(path, "rb") as file:
            file.seek(part.start)
            for block in decompressed(name, part):
                wanted = block[:left]
                if file.read(len(wanted)) != wanted:
                    raise _wrong(f"the transactions of {name}")
                left -= len(wanted)
