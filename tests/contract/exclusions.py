"""What is not run, and why. Each such case is reported as skipped, with its reason."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple


class Exclusion(NamedTuple):
    """One line of the table. All but the reason are patterns, as in a shell."""

    backend: str
    variant: str
    cls: str
    method: str
    reason: str
    pairing: str = "*"

    def matches(self, backend: str, variant: str, cls: str, method: str, pairing: str) -> bool:
        case = (backend, variant, cls, method, pairing)
        patterns = (self.backend, self.variant, self.cls, self.method, self.pairing)
        return all(map(fnmatchcase, case, patterns))


NO_UNDO = "the storage keeps no undo information"
NO_RESOLVING_UNDO = "RelStorage resolves no conflicts of an undo with later transactions"
NO_RESTORE = "the storage cannot restore transactions"
NO_GC = "a DemoStorage with a base collects no garbage"
NO_PACK = "ZODB's DemoStorage fails to pack changes that it has not made itself"
NO_HISTORY = "the storage keeps the last revision of each object only"
IN_MEMORY = "the storage is in memory: nothing is left after a restart"

EXCLUSIONS = [
    Exclusion(*row)
    for row in (
        # The wire
        (
            *("*", "*", "PackableStorageWithOptionalGC", "testPackAllRevisionsNoGC"),
            "the wire's pack has no gc argument: the daemon's configuration decides (pack-gc)",
        ),
        (
            *("*", "client_resolution", "*TransUndoStorage", "testUndoConflictResolution"),
            "undo happens in the daemon, which resolves nothing when its clients do",
        ),
        *(
            (
                *("*", "*", "PackableStorageWithOptionalGC", "testPackTomorrow"),
                "a pack time in the future is refused",
                pairing,
            )
            for pairing in ("ours", "tls")
        ),
        # MappingStorage; ZODB does not run these with it either, except for the last one
        ("mappingstorage", "*", "TransactionalUndoStorage", "*", NO_UNDO),
        ("mappingstorage", "*", "PackableUndoStorage", "*", NO_UNDO),
        ("mappingstorage", "*", "ConflictResolvingTransUndoStorage", "*", NO_UNDO),
        ("mappingstorage", "*", "RevisionStorage", "testLoadBeforeUndo", NO_UNDO),
        ("mappingstorage", "*", "IteratorStorage", "testUndoZombie", NO_UNDO),
        ("mappingstorage", "*", "RecoveryStorage", "*", NO_RESTORE),
        ("mappingstorage", "*", "PersistentStorage", "*", IN_MEMORY),
        (
            *("mappingstorage", "", "ConflictResolvingStorage", "*"),
            "the storage resolves no conflicts; its clients can",
        ),
        ("mappingstorage", "read_only_daemon", "*", "*", IN_MEMORY),
        ("mvccmappingstorage", "*", "RevisionStorage", "testLoadBeforeUndo", NO_UNDO),
        (
            *("mvccmappingstorage", "*", "Packable*", "testPackAllRevisions"),
            "the pack removes the last transaction, so the storage goes back in time, and the "
            "daemon ends the connections of its clients",
        ),
        # DemoStorage; ZODB does not run these with it either, except for the last three
        ("demostorage", "*", "TransactionalUndoStorage", "*", NO_UNDO),
        ("demostorage", "*", "PackableUndoStorage", "*", NO_UNDO),
        ("demostorage", "*", "ConflictResolvingTransUndoStorage", "*", NO_UNDO),
        ("demostorage", "*", "RevisionStorage", "testLoadBeforeUndo", NO_UNDO),
        ("demostorage", "*", "IteratorStorage", "testUndoZombie", NO_UNDO),
        ("demostorage*", "*", "RecoveryStorage", "*", NO_RESTORE),
        ("demostorage", "*", "Packable*", "testPackOnlyOneObject", NO_GC),
        ("demostorage", "*", "Packable*", "testPackAllRevisions", NO_GC),
        ("demostorage", "*", "Packable*", "testPackWithMultiDatabaseReferences", NO_GC),
        ("demostorage", "*", "PersistentStorage", "*", IN_MEMORY),
        ("demostorage", "read_only_daemon", "*", "*", IN_MEMORY),
        ("demostorage_on_file", "*", "Packable*", "*", NO_PACK),
        ("demostorage_on_file", "*", "TransactionalUndoStorage", "*Pack*", NO_PACK),
        # RelStorage. All of these fail with RelStorage alone, too, and its own tests leave them out
        # or have others in their place.
        ("relstorage*", "*", "*", "testUndo*ConflictResolution*", NO_RESOLVING_UNDO),
        (
            *("relstorage*", "*", "TransactionalUndoStorage", "testTransactionalUndoIterator"),
            "the storage does not tell which earlier revision an undo has brought back",
        ),
        (
            *("relstorage_postgresql", "*", "PackableUndoStorage", "testPackUndoLog"),
            "the test changes the clock of its process, and PostgreSQL has a clock of its own",
        ),
        ("*_without_history", "*", "TransactionalUndoStorage", "*", NO_UNDO),
        ("*_without_history", "*", "PackableUndoStorage", "*", NO_UNDO),
        ("*_without_history", "*", "ConflictResolvingTransUndoStorage", "*", NO_UNDO),
        ("*_without_history", "*", "RevisionStorage", "testLoadBeforeUndo", NO_UNDO),
        ("*_without_history", "*", "IteratorStorage", "testUndoZombie", NO_UNDO),
        ("*_without_history", "*", "RecoveryStorage", "*UndoRedo", NO_UNDO),
        ("*_without_history", "*", "RecoveryStorage", "testRestoreAcrossPack", NO_UNDO),
        ("*_without_history", "*", "RevisionStorage", "testLoadSerial", NO_HISTORY),
        ("*_without_history", "*", "HistoryStorage", "testSimpleHistory", NO_HISTORY),
        ("*_without_history", "*", "IteratorStorage", "testSimpleIteration", NO_HISTORY),
        ("*_without_history", "*", "ExtendedIteratorStorage", "testExtendedIteration", NO_HISTORY),
        (
            *("*_without_history", "*", "IteratorStorage", "testTransactionExtensionFromIterator"),
            "the storage keeps nothing about transactions but their ids",
        ),
        ("*_without_history", "*", "Packable*", "testPackAllRevisions", NO_HISTORY),
        ("*_without_history", "*", "Packable*", "testPackJustOldRevisions", NO_HISTORY),
        ("*_without_history", "*", "Packable*", "testPackOnlyOneObject", NO_HISTORY),
    )
]


def reason(backend: str, variant: str, cls: str, method: str, pairing: str) -> str | None:
    """Return why a case is not run, or None."""
    for exclusion in EXCLUSIONS:
        if exclusion.matches(backend, variant, cls, method, pairing):
            return exclusion.reason
    return None
