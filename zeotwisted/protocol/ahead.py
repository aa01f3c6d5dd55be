"""The records that an answer to ``loadAhead`` brings besides the one that was asked for.

They are current revisions. Records of the same class are much alike, so that they are compressed
together: ten small ones take about as many bytes as two of them alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from struct import Struct
from typing import TypeAlias

__all__ = ["Ahead", "pack_ahead", "unpack_ahead"]

#: The oid, the serial and the data of a current revision.
Ahead: TypeAlias = "tuple[bytes, bytes, bytes]"

#: Oid, serial, and length of the data, for each record. Then the data follow in the same order.
_HEAD = Struct(">8s8sI")
_COUNT = Struct(">H")

#: The first byte.
_PLAIN, _COMPRESSED = b"\0", b"\1"

#: Less than this (bytes) is not compressed.
_SHORT = 256


def pack_ahead(records: Sequence[Ahead]) -> bytes:
    """Encode records; an empty string if there are none."""
    if not records:
        return b""
    heads = [_HEAD.pack(oid, serial, len(data)) for oid, serial, data in records]
    plain = b"".join([_COUNT.pack(len(records)), *heads, *[data for _, _, data in records]])
    if len(plain) >= _SHORT:
        # The lowest level is nearly as good as the others here, and takes the least time.
        compressed = zlib.compress(plain, 1)
        if len(compressed) < len(plain):
            return _COMPRESSED + compressed
    return _PLAIN + plain


def unpack_ahead(packed: bytes, records: int, most: int) -> Sequence[Ahead]:
    """Return the records of `packed`.

    :param records: how many they may be.
    :param most: how many bytes they may have.
    :raises ValueError: `packed` is malformed, or contains more.
    """
    if not packed:
        return []
    plain = _expanded(packed[1:], most) if packed[:1] == _COMPRESSED else packed[1:]
    if len(plain) < _COUNT.size or len(plain) > most or packed[:1] not in (_PLAIN, _COMPRESSED):
        raise ValueError("records that were not asked for are malformed")
    (count,) = _COUNT.unpack_from(plain)
    end = _COUNT.size + count * _HEAD.size
    if count > records:
        raise ValueError(f"{count} records that were not asked for, and {records} were allowed")
    heads = plain[_COUNT.size : end]
    if len(heads) != count * _HEAD.size:
        raise ValueError("records that were not asked for are cut off")
    found = []
    for oid, serial, length in _HEAD.iter_unpack(heads):
        start, end = end, end + length
        found.append((oid, serial, plain[start:end]))
    if end != len(plain):
        raise ValueError("records that were not asked for have another length")
    return found


def _expanded(compressed: bytes, most: int) -> bytes:
    decompressor = zlib.decompressobj()
    try:
        plain = decompressor.decompress(compressed, most + 1)
    except zlib.error as error:
        raise ValueError(f"records that were not asked for: {error}") from error
    if not decompressor.eof or decompressor.unused_data:
        raise ValueError("records that were not asked for are cut off, or too long")
    return plain
