"""Transactions that are too long for the memory, until their vote."""

from __future__ import annotations

from typing import Any

from ZODB.POSException import StorageError

from zeotwisted.storageserver.commit.commitlog import CommitLog
from zeotwisted.storageserver.commit.spool import Spool
from zeotwisted.storageserver.limits import Budget, TransactionLimits

from .loops import Journal, Operation, files

__all__ = ["WritesCommitLog", "WritesSpool"]

_ENTRIES = [("store", (bytes([number]) * 30_000,)) for number in range(6)]


def _limits() -> TransactionLimits:
    return TransactionLimits.unlimited()._replace(memory=Budget("", 0))


def _used(limits: TransactionLimits) -> list[int]:
    return [limit.used for limit in limits if isinstance(limit, Budget)]


class WritesSpool(Operation):
    """Entries go to a spool, and come back from it."""

    name = "spool"

    def start(self) -> None:
        self.limits = _limits()
        self.spool = Spool(self.folder, limits=self.limits)
        self.kept: list[Any] = []

    def run(self, journal: Journal) -> None:
        for entry in _ENTRIES:
            try:
                self.spool.append(entry, 30_000)
            except OSError as error:
                journal.refused(error)
            else:
                self.kept.append(entry)
        try:
            assert list(self.spool) == self.kept
        except OSError as error:
            journal.refused(error)

    def mended(self, journal: Journal) -> None:
        assert list(self.spool) == self.kept
        for entry in _ENTRIES:
            self.spool.append(entry, 30_000)
        assert list(self.spool) == self.kept + _ENTRIES
        self.spool.close()
        assert not any(_used(self.limits))

    def left_over(self, killed: bool) -> set[str]:
        return files(self.folder)


class WritesCommitLog(Operation):
    """A commit log closes itself when it cannot be written."""

    name = "commit log"

    def start(self) -> None:
        self.limits = _limits()
        self.log = CommitLog(self.folder, self.limits)

    def run(self, journal: Journal) -> None:
        try:
            for number, (operation, args) in enumerate(_ENTRIES):
                if number == 2:
                    self._add_file()
                self.log.add(operation, *args)
            assert [entry for entry in self.log if entry[0] == "store"] == _ENTRIES
        except (OSError, StorageError) as error:
            journal.refused(error)
        self.log.close()
        journal.note("closed", True)

    def _add_file(self) -> None:
        """Add a blob, as the connection does when it has arrived."""
        path = self.path("blob")
        with open(path, "wb") as file:
            self.limits.disk.add(1000)
            self.log.add_file("storeBlob", filename=path, size=1000)
            file.write(b"x" * 1000)

    def mended(self, journal: Journal) -> None:
        assert not any(_used(self.limits))
        log = CommitLog(self.folder, self.limits)
        for operation, args in _ENTRIES:
            log.add(operation, *args)
        assert list(log) == _ENTRIES
        log.close()

    def left_over(self, killed: bool) -> set[str]:
        # A killed daemon leaves the blobs that had arrived; see `commits`.
        return files(self.folder) - {"blob"}
