"""The checksum of transactions, by what they say and not by how they are stored."""

from __future__ import annotations

from hashlib import sha256
from struct import Struct

__all__ = ["Content", "data_digest"]

_TRANSACTION = Struct(">8s1sIII")
_RECORD = Struct(">8s8s8s32s")
_NO_DATA = bytes(32)
_NO_POINTER = bytes(8)


def data_digest(data: bytes | None) -> bytes:
    """Return the SHA-256 of a record's data; zeros if there is none."""
    return _NO_DATA if data is None else sha256(data).digest()


class Content:
    """The SHA-256 of transactions with their metadata and records, in order."""

    def __init__(self) -> None:
        self._hash = sha256()

    def transaction(
        self, tid: bytes, status: bytes, user: bytes, description: bytes, extension: bytes
    ) -> None:
        """Add the metadata of a transaction. Its records follow."""
        self._hash.update(
            _TRANSACTION.pack(tid, status, len(user), len(description), len(extension))
        )
        self._hash.update(user + description + extension)

    def record(self, oid: bytes, tid: bytes, data_txn: bytes | None, digest: bytes) -> None:
        """Add a record.

        :param data_txn: the earlier transaction that has its data; None for its own.
        :param digest: see `data_digest`.
        """
        self._hash.update(_RECORD.pack(oid, tid, data_txn or _NO_POINTER, digest))

    def hexdigest(self) -> str:
        """Return the checksum, in hexadecimal digits."""
        return self._hash.hexdigest()
