"""Many oids, joined to one byte string."""

from __future__ import annotations

from struct import Struct, unpack
from typing import Any

__all__ = ["are_joined", "numbers", "split"]

_OID = Struct("8s")


def are_joined(value: Any) -> bool:
    """Return whether `value` can be the result of ``b"".join(oids)``."""
    return type(value) is bytes and len(value) % _OID.size == 0


def split(joined: bytes) -> list[bytes]:
    """Return the oids in their order, duplicates included."""
    return [oid for (oid,) in _OID.iter_unpack(joined)]


def numbers(joined: bytes) -> tuple[int, ...]:
    """Return the oids as numbers."""
    return unpack(f">{len(joined) // _OID.size}Q", joined)
