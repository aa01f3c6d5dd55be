"""The conflicts in a shared storage, which tells one of them only."""

from __future__ import annotations

from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import (
    ConflictError,
    POSKeyError,
    ReadConflictError,
    StorageError,
    UndoError,
)
from ZODB.utils import p64, z64

from zeotwisted.storageserver.commit.operations import Operations


class Present:
    """A storage with the present revisions, by oid."""

    def __init__(self, serials: dict[bytes, bytes]) -> None:
        self._serials = serials

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        if oid not in self._serials:
            raise POSKeyError(oid)
        return b"present", self._serials[oid], None


@pytest.fixture
def operations() -> Operations:
    return Operations(None, TransactionMetaData(), True, True)


def entry(name: str, oid: int, serial: int | None, *more: str) -> tuple[str, tuple[Any, ...]]:
    return name, (p64(oid), None if serial is None else p64(serial), b"data %d" % oid, *more)


def test_find_conflicts(operations: Operations) -> None:
    log: Any = [
        entry("store", 1, 10),  # present
        entry("store", 2, 10),  # changed meanwhile
        entry("storeBlob", 3, 10, "a file"),  # changed meanwhile
        entry("store", 4, 0),  # new
        entry("store", 5, None),  # made by another one meanwhile
        entry("store", 6, 10),  # removed meanwhile
        ("deleteObject", (p64(7), p64(10))),
        ("checkCurrentSerialInTransaction", (p64(8), p64(10))),
        ("undo", (p64(9),)),
    ]
    changed = (2, 3, 5, 7, 8)
    present = Present({p64(1): p64(10)} | {p64(oid): p64(20) for oid in changed})
    operations.find_conflicts(present, log)
    assert operations.conflicts == {
        p64(2): {"oid": p64(2), "serials": (p64(20), p64(10)), "data": b"data 2"},
        p64(3): {"oid": p64(3), "serials": (p64(20), p64(10)), "data": b"data 3"},
        p64(5): {"oid": p64(5), "serials": (p64(20), z64), "data": b"data 5"},
    }


def test_find_conflicts_of_resolutions(operations: Operations) -> None:
    """The client has sent an object again, resolved: the last entry is what counts."""
    log: Any = [entry("store", 1, 10), entry("store", 1, 20)]
    operations.find_conflicts(Present({p64(1): p64(20)}), log)
    assert operations.conflicts == {}
    operations.find_conflicts(Present({p64(1): p64(30)}), log)
    assert operations.conflicts[p64(1)]["serials"] == (p64(30), p64(20))


@pytest.mark.parametrize(
    ("error", "is_shared", "expected"),
    [
        (ConflictError(), True, True),
        (ConflictError(), False, False),
        (ConflictError(serials=(p64(2), p64(1))), False, True),
        (ReadConflictError(serials=(p64(2), p64(1))), True, False),
        (StorageError(), True, True),
        (StorageError(), False, False),
        (UndoError("no"), True, False),
    ],
)
def test_may_be_conflict(
    operations: Operations, error: Exception, is_shared: bool, expected: bool
) -> None:
    assert operations.may_be_conflict(error, is_shared) is expected
