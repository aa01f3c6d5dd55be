"""The databases that the daemons serve: made once, copied for every run."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

__all__ = ["BIG_SIZE", "SMALL_COUNT", "SMALL_SIZE", "Databases", "small_oids"]

SMALL_COUNT = 5000
SMALL_SIZE = 500
BIG_SIZE = 64 * 2**20

_OBJECTS_PER_TRANSACTION = 100


def small_oids(count: int, seed: int) -> list[bytes]:
    """Return `count` distinct oids of the small records, in an order that `seed` decides."""
    return [p64(number) for number in random.Random(seed).sample(range(1, SMALL_COUNT + 1), count)]


class Databases:
    """Makes each kind of database when it is first wanted, below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def copy(self, kind: str, target: Path) -> Path:
        """Put a fresh database of the `kind` into the folder `target`; return its path."""
        original = self._folder / kind
        if not original.exists():
            original.mkdir()
            _fill(original / "Data.fs", kind)
        for name in os.listdir(original):
            shutil.copy(original / name, target / name)
        return target / "Data.fs"


def _fill(path: Path, kind: str) -> None:
    # Bytes without structure will do: no measure unpickles a record.
    if kind == "small":
        records = [os.urandom(SMALL_SIZE) for _ in range(SMALL_COUNT)]
    elif kind == "big":
        records = [os.urandom(BIG_SIZE)]
    elif kind == "empty":
        records = [b"the root, so that there is a last transaction"]
    else:
        raise ValueError(f"no such database: {kind}")
    storage = FileStorage(str(path))
    try:
        for first in range(0, len(records), _OBJECTS_PER_TRANSACTION):
            transaction = TransactionMetaData()
            storage.tpc_begin(transaction)
            for number, data in enumerate(records[first : first + _OBJECTS_PER_TRANSACTION], first):
                storage.store(p64(number + 1), z64, data, "", transaction)
            storage.tpc_vote(transaction)
            storage.tpc_finish(transaction)
    finally:
        storage.close()
