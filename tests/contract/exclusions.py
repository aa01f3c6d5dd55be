"""What is not run, and why. Each such case is reported as skipped, with its reason."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple


class Exclusion(NamedTuple):
    """All four are patterns as in a shell."""

    backend: str
    variant: str
    cls: str
    method: str
    reason: str

    def matches(self, backend: str, variant: str, cls: str, method: str) -> bool:
        case = (backend, variant, cls, method)
        return all(map(fnmatchcase, case, self[:4]))


NO_UNDO = "the storage keeps no undo information"
NO_RESTORE = "the storage cannot restore transactions"
NO_GC = "a DemoStorage with a base collects no garbage"

EXCLUSIONS = [
    Exclusion(*row)
    for row in (
        (
            *("*", "*", "PackableStorageWithOptionalGC", "testPackAllRevisionsNoGC"),
            "the wire's pack has no gc argument: the daemon's configuration decides (pack-gc)",
        ),
        (
            *("*", "client_resolution", "*TransUndoStorage", "testUndoConflictResolution"),
            "undo happens in the daemon, which resolves nothing when its clients do",
        ),
        # ZODB's tests of MappingStorage
        ("mappingstorage", "*", "TransactionalUndoStorage", "*", NO_UNDO),
        ("mappingstorage", "*", "PackableUndoStorage", "*", NO_UNDO),
        ("mappingstorage", "*", "ConflictResolvingTransUndoStorage", "*", NO_UNDO),
        ("mappingstorage", "*", "RevisionStorage", "testLoadBeforeUndo", NO_UNDO),
        ("mappingstorage", "*", "IteratorStorage", "testUndoZombie", NO_UNDO),
        ("mappingstorage", "*", "RecoveryStorage", "*", NO_RESTORE),
        ("mappingstorage", "*", "PersistentStorage", "*", "the storage is in memory"),
        (
            *("mappingstorage", "", "ConflictResolvingStorage", "*"),
            "the storage resolves no conflicts; its clients can",
        ),
        # ZODB's tests of DemoStorage
        ("demostorage*", "*", "TransactionalUndoStorage", "*", NO_UNDO),
        ("demostorage*", "*", "PackableUndoStorage", "*", NO_UNDO),
        ("demostorage*", "*", "ConflictResolvingTransUndoStorage", "*", NO_UNDO),
        ("demostorage*", "*", "RevisionStorage", "testLoadBeforeUndo", NO_UNDO),
        ("demostorage*", "*", "IteratorStorage", "testUndoZombie", NO_UNDO),
        ("demostorage*", "*", "RecoveryStorage", "*", NO_RESTORE),
        ("demostorage*", "*", "Packable*", "testPackOnlyOneObject", NO_GC),
        ("demostorage*", "*", "Packable*", "testPackAllRevisions", NO_GC),
        ("demostorage*", "*", "Packable*", "testPackWithMultiDatabaseReferences", NO_GC),
        ("demostorage", "*", "PersistentStorage", "*", "the changes are in memory"),
    )
]


def reason(backend: str, variant: str, cls: str, method: str) -> str | None:
    """Return why a case is not run, or None."""
    for exclusion in EXCLUSIONS:
        if exclusion.matches(backend, variant, cls, method):
            return exclusion.reason
    return None
