"""Reads the transactions of a part, without the rest of the ``Data.fs``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any

from ZODB.FileStorage.format import DATA_HDR_LEN, FileStorageFormatter

from .records import MAGIC

__all__ = ["PartReader"]

#: A part is kept in memory up to this size, in bytes; then in a temporary file.
_IN_MEMORY = 32 * 2**20


class PartReader(FileStorageFormatter):
    """Reads a part of a ``Data.fs``.

    :param start: the position of the part in the ``Data.fs``.
    :param end: the position after it.
    :param blocks: its bytes.
    """

    def __init__(self, start: int, end: int, blocks: Iterable[bytes]) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115
            _IN_MEMORY
        )
        for block in blocks:
            self._file.write(block)
        self._start, self._end = start, end

    def close(self) -> None:
        """Remove the temporary file."""
        self._file.close()

    def positions(self) -> Iterator[tuple[bytes, int]]:
        """Yield the oid and the position of each record."""
        for position, transaction in self._transactions():
            for at, record in self._records(position, transaction):
                yield record.oid, at

    def find(self, oid: bytes, tid: bytes, data: bytes) -> int:
        """Return the position of the record of an object in a transaction.

        0 if it is not there, or has other data.
        """
        for position, transaction in self._transactions():
            if transaction.tid == tid:
                # As FileStorage does: if there are several, the last one counts.
                found = 0
                for at, record in self._records(position, transaction):
                    found = at if record.oid == oid else found
                return found if found and self._has(found, data) else 0
        return 0

    def _transactions(self) -> Iterator[tuple[int, Any]]:
        # The first part of a series has the file's magic bytes before its transactions.
        position = max(self._start, len(MAGIC))
        while position < self._end:
            header = self._read_txn_header(position - self._start)
            yield position, header
            position += header.tlen + 8

    def _records(self, position: int, transaction: Any) -> Iterator[tuple[int, Any]]:
        end = position + transaction.tlen
        position += transaction.headerlen()
        while position < end:
            record = self._read_data_header(position - self._start)
            yield position, record
            position += record.recordlen()

    def _has(self, position: int, data: bytes) -> bool:
        record = self._read_data_header(position - self._start)
        if not record.plen:
            # Its data are somewhere else. FileStorage trusts it, too.
            return bool(record.back)
        if record.plen != len(data):
            return False
        self._file.seek(position - self._start + DATA_HDR_LEN)
        return self._file.read(record.plen) == data
