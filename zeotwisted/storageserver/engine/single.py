"""Serves a storage that nobody else changes, or that reports the changes of others by itself.

Such are a FileStorage and a client of one of ZEO's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZODB.Connection import TransactionMetaData

from .engine import News, OwnCommit, Remote

__all__ = ["OneStorage", "Single"]


class Single:
    """See `engine.Engine`. One transaction at a time is between its vote and its end."""

    is_shared = False
    votes = 1
    is_replica = False
    marks = False
    unpickles = True
    database = ""
    records = None
    remote: Remote | None = None

    def __init__(self, storage: Any) -> None:
        self.storage = storage
        self.lending = OneStorage(storage)

    def voted(self, storage: Any) -> bytes | None:
        return None

    def knows(self, tid: bytes) -> bool:
        return True

    def outcome(self, mark: bytes) -> bytes | None:
        raise NotImplementedError("there are no marks")

    def finish(self, storage: Any, transaction: TransactionMetaData, own: OwnCommit) -> None:
        raise NotImplementedError("the storage tells its database of its transactions")

    def start(self, news: News) -> None:
        """The storage tells its database, see `ZODB.interfaces.IStorageWrapper`."""

    def refresh(self, done: Callable[[], object]) -> None:
        done()

    def stop(self) -> None:
        """Nothing has been started."""


class OneStorage:
    """See `engine.Lending`."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def prepare(self, function: Callable[[Any], object]) -> None:
        function(self._storage)

    def lease(self) -> Any:
        return self._storage

    def give_back(self, storage: Any, is_sound: bool = True) -> None:
        """There is only one."""

    def forget(self) -> None:
        """There is nothing like that."""
