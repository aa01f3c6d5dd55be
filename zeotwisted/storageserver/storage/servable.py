"""Which storages a daemon can serve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ZODB.interfaces import IBlobStorage, IMVCCStorage, IStorage

__all__ = ["NotServable", "check_servable"]


class NotServable(ValueError):
    """A storage cannot be served; the text says why, and what to do, in one line."""


def check_servable(storages: Mapping[str, Any]) -> None:
    """Check that the daemon can serve each of the storages.

    An `IMVCCStorage`, such as RelStorage, shows the database as it was at the last call of its
    ``poll_invalidations``. It does not report the commits of other processes. A daemon that reads
    from it would always send old data to its clients.

    :param storages: the storages, by the names under which clients register for them.
    :raises NotServable: one of the storages is an `IMVCCStorage`, or wraps one.
    """
    for storage_id, storage in storages.items():
        for inner in _all_within(storage):
            if IMVCCStorage.providedBy(inner):
                raise NotServable(
                    f"cannot serve storage {storage_id!r}: {_name(inner, storage)} provides "
                    "IMVCCStorage, so it does not tell the daemon what other processes commit, "
                    "and clients would read old data; let the applications open it themselves, "
                    "or copy it into a FileStorage (zodbconvert) and serve that"
                )


def _name(inner: Any, storage: Any) -> str:
    name = type(inner).__name__
    return name if inner is storage else f"{name} (within a {type(storage).__name__})"


def _all_within(storage: Any) -> Iterator[Any]:
    """Yield a storage, and the storages that it wraps, at any depth.

    Wrappers (blobs, compression, a DemoStorage) use different names for the attribute, so this
    looks at all attributes.
    """
    seen: set[int] = set()
    waiting = [storage]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += filter(_is_storage, getattr(each, "__dict__", {}).values())


def _is_storage(value: Any) -> bool:
    # A `ZODB.blob.BlobStorage` provides only IBlobStorage if the storage in it cannot restore.
    return IStorage.providedBy(value) or IBlobStorage.providedBy(value)
