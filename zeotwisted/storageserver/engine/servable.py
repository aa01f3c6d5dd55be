"""Which storages a daemon can serve, and how."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from twisted.logger import Logger
from ZODB.interfaces import IBlobStorage, IMVCCStorage, IStorage, IStorageWrapper

from zeotwisted import postgresql

from .engine import Engine
from .mvcc import Mvcc
from .postgresql import PostgreSQL
from .single import Single
from .upstream import Upstream

__all__ = ["NotServable", "check_servable", "choose_engine"]


_log = Logger()


class NotServable(ValueError):
    """A storage cannot be served; the text says why, and what to do, in one line."""


def check_servable(storages: Mapping[str, Any]) -> None:
    """Check that the daemon can serve each of the storages.

    An `IMVCCStorage`, such as RelStorage, shows the database as it was at the last call of its
    ``poll_invalidations``, and is changed by other processes. A storage that wraps one would always
    show old data.

    :param storages: the storages, by the names under which clients register for them.
    :raises NotServable: one of the storages wraps an `IMVCCStorage`.
    """
    for storage_id, storage in storages.items():
        for inner in _all_within(storage):
            if inner is not storage and IMVCCStorage.providedBy(inner):
                raise NotServable(
                    f"cannot serve storage {storage_id!r}: it is a {type(storage).__name__} around "
                    f"a {type(inner).__name__}, which has views of the database of its own "
                    "(IMVCCStorage), so clients would read old data; serve the "
                    f"{type(inner).__name__} itself"
                )


def choose_engine(storage_id: str, storage: Any, reactor: Any) -> Engine:
    """Return the engine for a storage that `check_servable` has accepted.

    :raises NotServable: its database cannot be served as it is.
    """
    if not IMVCCStorage.providedBy(storage):
        is_client = hasattr(storage, "upstream") and not IStorageWrapper.providedBy(storage)
        return Upstream(storage_id, storage, reactor) if is_client else Single(storage)
    _warn_of_greenlets(storage_id, storage)
    dsn = postgresql.data_source(storage)
    if dsn is None:
        return Mvcc(storage_id, storage)
    try:
        return _for_postgresql(storage_id, storage, dsn, reactor)
    except postgresql.PostgreSQLError as error:
        raise NotServable(f"cannot serve storage {storage_id!r}: {error}") from error
    except Exception as error:
        explained = postgresql.explain(error)
        if explained is None:
            raise
        raise NotServable(f"cannot serve storage {storage_id!r}: {explained}") from error


def _warn_of_greenlets(storage_id: str, storage: Any) -> None:
    """Warn of a driver of RelStorage's that is made for gevent.

    Where gevent is installed, RelStorage takes one of two drivers by chance if it is not told. The
    one for gevent has an event loop for each thread, whose file descriptors stay open after it.
    """
    driver = getattr(getattr(storage, "_adapter", None), "driver", None)
    name = getattr(driver, "__name__", None)
    if isinstance(name, str) and name.startswith("gevent "):
        _log.warn(
            "storage {id!r} uses RelStorage's driver {driver!r}, which wastes file descriptors "
            "here: write 'driver {plain}' into its section",
            id=storage_id,
            driver=name,
            plain=name.removeprefix("gevent "),
        )


def _for_postgresql(storage_id: str, storage: Any, dsn: str, reactor: Any) -> Engine:
    opened = postgresql.OpenedConnections(storage)
    try:
        return PostgreSQL(storage_id, storage, dsn, reactor, opened.cut)
    except (postgresql.DriverMissing, postgresql.NotInstalled, postgresql.Deaf) as error:
        _log.warn(
            "storage {id!r} is served without PostgreSQL's notifications: {error}",
            id=storage_id,
            error=error,
        )
        return Mvcc(storage_id, storage, opened.cut)


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
