"""Transactions as the feed of changes hands them out."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import Any, NamedTuple

from ..commit import stored_without_mark
from ..history import loaded_extension

__all__ = ["ChangedRecord", "ChangedTransaction", "Collector"]

#: How many bytes of a transaction's records are kept in memory. More are kept in a file.
_MOST_IN_MEMORY = 8 * 2**20

#: oid, flags, tid of the data, length of the data.
_HEAD = struct.Struct(">8sB8sQ")
_HAS_BLOB, _HAS_DATA, _IS_COPY = 1, 2, 4


class ChangedRecord(NamedTuple):
    """One object in a transaction.

    :ivar data: None if the transaction has undone the creation of the object.
    :ivar data_txn: the transaction that the data was copied from, by an undo; usually None.
    :ivar has_blob: whether there is a blob, see `StorageClient.loadBlob`.
    """

    oid: bytes
    data: bytes | None
    data_txn: bytes | None
    has_blob: bool


class _Records:
    """Records one after the other, in memory or in a file."""

    def __init__(self) -> None:
        self._file: Any = SpooledTemporaryFile(max_size=_MOST_IN_MEMORY)  # noqa: SIM115
        self._end = 0

    def add(self, record: ChangedRecord) -> None:
        flags = _HAS_BLOB if record.has_blob else 0
        flags |= 0 if record.data is None else _HAS_DATA
        flags |= 0 if record.data_txn is None else _IS_COPY
        data = record.data or b""
        head = _HEAD.pack(record.oid, flags, record.data_txn or bytes(8), len(data))
        self._end += self._file.write(head) + self._file.write(data)

    def __iter__(self) -> Iterator[ChangedRecord]:
        position = 0
        while position < self._end:
            self._file.seek(position)
            oid, flags, data_txn, length = _HEAD.unpack(self._file.read(_HEAD.size))
            data = self._file.read(length)
            position += _HEAD.size + length
            yield ChangedRecord(
                oid,
                data if flags & _HAS_DATA else None,
                data_txn if flags & _IS_COPY else None,
                bool(flags & _HAS_BLOB),
            )


@dataclass(frozen=True)
class ChangedTransaction:
    """One transaction.

    :ivar status: a space, or ``p`` if a pack has kept this transaction and may have removed records
        of it.
    :ivar stored_extension: the extension as the storage has it, a pickle.
    :ivar oids: the objects that it has records of.
    :ivar records: the records, which may be iterated again; None if they were not asked for.
    """

    tid: bytes
    status: str
    user: bytes
    description: bytes
    stored_extension: bytes
    oids: list[bytes]
    records: _Records | None

    @property
    def is_packed(self) -> bool:
        """Whether a pack may have removed records of this transaction, and others before it."""
        return self.status == "p"

    @property
    def extension(self) -> dict[Any, Any]:
        """What the application has added to user and description; it is unpickled here."""
        return loaded_extension(stored_without_mark(self.stored_extension))


class Collector:
    """Collects the parts of one transaction.

    :param user, description: bytes, or a text of an old server's.
    """

    def __init__(
        self,
        with_records: bool,
        tid: bytes,
        status: Any,
        user: Any,
        description: Any,
        stored_extension: bytes,
    ) -> None:
        self._made = ChangedTransaction(
            tid,
            status.decode("latin-1") if isinstance(status, bytes) else str(status),
            _encoded(user),
            _encoded(description),
            stored_extension,
            [],
            _Records() if with_records else None,
        )

    @property
    def tid(self) -> bytes:
        """The id of the transaction."""
        return self._made.tid

    def add(
        self, oid: bytes, data_txn: bytes | None, data: bytes | None, has_blob: bool = False
    ) -> None:
        """Add a record."""
        self._made.oids.append(oid)
        if self._made.records is not None:
            self._made.records.add(ChangedRecord(oid, data, data_txn, has_blob))

    def end(self) -> ChangedTransaction:
        """Return the transaction, which has all of its records now."""
        return self._made


def _encoded(text: Any) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)
