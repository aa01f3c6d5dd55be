"""Writes transactions in the format of a FileStorage."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import IO, Any

from ZODB.FileStorage.FileStorage import packed_version as MAGIC
from ZODB.FileStorage.format import DATA_HDR_LEN, TRANS_HDR_LEN, DataHeader, TxnHeader
from ZODB.fsIndex import fsIndex
from ZODB.utils import p64

from .content import Content, data_digest

__all__ = ["MAGIC", "TransactionWriter"]

#: A transaction is kept in memory up to this size, in bytes; then in a temporary file.
_IN_MEMORY = 8 * 2**20
_BLOCK = 2**20

#: Returns the position of the record of an object in a transaction; 0 if that is not there, or has
#: other data than these.
Find = Callable[[bytes, bytes, bytes], int]


class TransactionWriter:
    """Writes one transaction after the other.

    :param write: gets the bytes.
    :param find: finds the earlier record whose data a record has again.
    :param index: where the last revision of each object is.
    :param position: where the next transaction begins.
    :ivar content: the checksum of the transactions.
    :ivar records: how many records were written.
    """

    def __init__(
        self, write: Callable[[bytes], Any], find: Find, index: fsIndex, position: int
    ) -> None:
        self._write = write
        self._find = find
        self.index = index
        self.position = position
        self.content = Content()
        self.records = 0
        self._new: dict[bytes, int] = {}

    def begin(
        self, tid: bytes, status: str, user: bytes, description: bytes, extension: bytes
    ) -> None:
        """Begin a transaction."""
        lengths = len(user), len(description), len(extension)
        self._header = TxnHeader(tid, 0, status, *lengths)
        self._header.user, self._header.descr, self._header.ext = user, description, extension
        self._records: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            _IN_MEMORY
        )
        self._at = self.position + TRANS_HDR_LEN + sum(lengths)
        self.content.transaction(tid, status.encode(), user, description, extension)

    def record(self, oid: bytes, tid: bytes, data: bytes | None, data_txn: bytes | None) -> bytes:
        """Write a record of the transaction; return the checksum of its data.

        :param data: None if the object does not exist any more.
        :param data_txn: the earlier transaction whose data it has again, if that is known.
        """
        digest = data_digest(data)
        pointer = 0
        if data and data_txn is not None:
            pointer = self._find(oid, data_txn, data)
        self.content.record(oid, tid, data_txn if pointer else None, digest)
        stored, length = (data, len(data)) if data and not pointer else (p64(pointer), 0)
        before = self.index.get(oid, 0)
        self._records.write(DataHeader(oid, tid, before, self.position, 0, length).asString())
        self._records.write(stored)
        self._new[oid] = self._at
        self._at += DATA_HDR_LEN + len(stored)
        self.records += 1
        return digest

    def end(self) -> None:
        """Write the transaction."""
        with self._records as records:
            length = self._at - self.position
            self._header.tlen = length
            self._write(self._header.asString())
            records.seek(0)
            while block := records.read(_BLOCK):
                self._write(block)
            self._write(p64(length))
        self.index.update(self._new)
        self._new.clear()
        self.position = self._at + 8

    def abandon(self) -> None:
        """Forget the transaction that was begun."""
        self._records.close()
