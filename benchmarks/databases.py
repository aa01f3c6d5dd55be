"""The databases that the daemons serve: made once, copied for every run."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from BTrees.LOBTree import LOBTree
from ZODB.Connection import TransactionMetaData
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

from .graphs import fill

__all__ = ["BIG_SIZE", "MISSED", "SMALL_COUNT", "SMALL_SIZE", "Databases", "small_oids"]

SMALL_COUNT = 20_000
SMALL_SIZE = 500
BIG_SIZE = 32 * 2**20

#: How many empty ones a database has in its root.
TREES = 8

#: What a client of the small database misses if it comes back to the later one: in few enough
#: transactions for a daemon with default settings to know them, as it keeps the last hundred.
MISSED = 100_000
_MISSED_TRANSACTIONS = 50
_MISSED_SIZE = 100

_OBJECTS_PER_TRANSACTION = 100


def small_oids(count: int, seed: int, share: int = 0, shares: int = 1) -> list[bytes]:
    """Return distinct oids of the small records, in an order that `seed` decides.

    No two of the `shares` have an oid in common.
    """
    numbers = list(range(1, SMALL_COUNT + 1))
    random.Random(seed).shuffle(numbers)
    own = numbers[share::shares]
    if count > len(own):
        raise ValueError(f"there are no {count} oids")
    return [p64(number) for number in own[:count]]


class Databases:
    """Makes each kind of database when it is first wanted, below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def copy(self, kind: str, target: Path) -> Path:
        """Put a fresh database of the `kind` into the folder `target`; return its path."""
        for name in os.listdir(self.original(kind)):
            shutil.copy(self.original(kind) / name, target / name)
        return target / "Data.fs"

    def original(self, kind: str) -> Path:
        """Return the folder of a database that nobody may change."""
        original = self._folder / kind
        if not original.exists():
            if kind == "later":
                self.copy("small", _new_folder(original))
            _FILL[kind](_new_folder(original) / "Data.fs")
        return original


def _new_folder(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def commit(storage: FileStorage, records: dict[bytes, bytes], serial: bytes = z64) -> bytes:
    """Commit one transaction; return its tid."""
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    for oid, data in records.items():
        storage.store(oid, serial, data, "", transaction)
    storage.tpc_vote(transaction)
    tid: bytes = storage.tpc_finish(transaction)
    return tid


# Bytes without structure will do: what goes to the storages directly unpickles no record.


def _fill_empty(path: Path) -> None:
    storage = FileStorage(str(path))
    commit(storage, {z64: b"the root, so that there is a last transaction"})
    storage.close()


def _fill_small(path: Path) -> None:
    storage = FileStorage(str(path))
    for first in range(1, SMALL_COUNT + 1, _OBJECTS_PER_TRANSACTION):
        numbers = range(first, first + _OBJECTS_PER_TRANSACTION)
        commit(storage, {p64(number): os.urandom(SMALL_SIZE) for number in numbers})
    storage.close()


def _fill_later(path: Path) -> None:
    """Change all small records, and add new ones."""
    storage = FileStorage(str(path))
    objects = MISSED // _MISSED_TRANSACTIONS
    for first in range(1, MISSED + 1, objects):
        old = [p64(number) for number in range(first, min(first + objects, SMALL_COUNT + 1))]
        new = [p64(number) for number in range(max(first, SMALL_COUNT + 1), first + objects)]
        transaction = TransactionMetaData()
        storage.tpc_begin(transaction)
        for oid in old:
            serial = storage.getTid(oid)
            storage.store(oid, serial, os.urandom(_MISSED_SIZE), "", transaction)
        for oid in new:
            storage.store(oid, z64, os.urandom(_MISSED_SIZE), "", transaction)
        storage.tpc_vote(transaction)
        storage.tpc_finish(transaction)
    storage.close()


def _fill_trees(path: Path) -> None:
    database = DB(FileStorage(str(path)))
    with database.transaction() as connection:
        for number in range(TREES):
            connection.root()[f"tree{number}"] = LOBTree()
    database.close()


def _fill_big(path: Path) -> None:
    storage = FileStorage(str(path))
    commit(storage, {p64(1): os.urandom(BIG_SIZE)})
    storage.close()


_FILL: dict[str, Callable[[Path], None]] = {
    "empty": _fill_empty,
    "small": _fill_small,
    "later": _fill_later,
    "big": _fill_big,
    "trees": _fill_trees,
    "objects": fill,
}
