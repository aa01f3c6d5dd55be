"""Backups: a full one, incremental ones, an old one that is removed, and a restore."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import shutil
from typing import Any

import transaction
import ZODB
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage

from zeotwisted.backup import (
    BackupError,
    FileSource,
    Losses,
    Target,
    back_up,
    damages,
    new_folder,
    outputs,
    read_back,
    selected,
    write_database,
)

from .loops import Journal, Operation

__all__ = ["AddsPiece", "BacksUp", "RemovesSeries", "Restores"]


def _nothing(*args: object) -> None:
    """Take what is told, and do nothing."""


class BacksUp(Operation):
    """The first backup of a database."""

    name = "full backup"
    full = False
    keep: int | None = None

    def prepare(self) -> None:
        os.mkdir(self.path("source"))
        with self._database() as database:
            for number in range(3):
                self._commit(database, number)
            database.undo(database.undoInfo(0, 1)[0]["id"])
            transaction.commit()

    @contextlib.contextmanager
    def _database(self) -> Any:
        storage = FileStorage(self.path("source", "Data.fs"), blob_dir=self.path("source", "blobs"))
        with contextlib.closing(ZODB.DB(storage)) as database:
            yield database

    def _commit(self, database: Any, number: int) -> None:
        with database.transaction() as connection:
            connection.root()[number] = Blob(b"content %d" % number * 2000)

    def run(self, journal: Journal) -> None:
        try:
            self.back_up()
        except (BackupError, OSError) as error:
            journal.refused(error)
        else:
            journal.note("done", True)
            backup = self.path("backup")
            lasting = {path for path in self.disk.unsynced if path.startswith(backup)}
            lasting -= {os.path.join(backup, name) for name in (".lock", "README.txt")}
            assert not lasting, "a power failure would lose a part of the backup"

    def start(self) -> None:
        # The order of the steps has to be the same each time.
        outputs.THREADS = 1

    def back_up(self) -> None:
        """Back up what is in the folder."""
        back_up(
            lambda folder: self._source(),
            Target(self.path("backup")),
            self.full,
            self.keep,
            False,
            _nothing,
            _nothing,
        )

    def _source(self) -> FileSource:
        # The record of an error would keep the file of a FileStorage that could not be opened.
        log = logging.getLogger("ZODB.FileStorage")
        log.disabled = True
        try:
            return FileSource(self.path("source", "Data.fs"), self.path("source", "blobs"))
        finally:
            log.disabled = False

    def mended(self, journal: Journal) -> None:
        # A FileStorage that could not be opened leaves its file to the collector.
        gc.collect()
        self._check(journal)

    def restarted(self, journal: Journal) -> None:
        self._check(journal)
        self.back_up()
        self._check_series(self.wanted())

    def wanted(self) -> list[bytes]:
        """Return all transactions that a backup which has succeeded has."""
        with contextlib.closing(FileStorage(self.path("source", "Data.fs"), read_only=True)) as s:
            return [each.tid for each in s.iterator()]

    def before(self) -> list[bytes]:
        """Return the transactions that were backed up before."""
        return []

    def _check(self, journal: Journal) -> None:
        place = self.path("backup")
        if not os.path.isdir(place) or not Target(place).numbers():
            assert not journal.of("done") and not self.before()
            return
        wanted = [self.wanted()] if journal.of("done") else [self.wanted(), self.before()]
        self._check_series(*wanted)

    def _check_series(self, *wanted: list[bytes]) -> None:
        target = Target(self.path("backup"))
        for number in target.numbers():
            assert list(damages(target.series(number), _nothing)) == []
        assert self._restored(target) in wanted

    def _restored(self, target: Target) -> list[bytes]:
        """Restore a backup, which compares all; return the transactions."""
        series, until = selected(target, None, None)
        place = self.path("restored")
        with new_folder(place) as folder:
            losses = Losses(False)
            restored = write_database(series, until, folder, _nothing, losses)
            read_back(folder, restored, until, _nothing, losses)
        with contextlib.closing(FileStorage(os.path.join(place, "Data.fs"))) as storage:
            tids = [each.tid for each in storage.iterator()]

        shutil.rmtree(place)
        return tids

    def left_over(self, killed: bool) -> set[str]:
        if not killed and self.fault is not None and self.fault.stays:
            # They cannot be removed either; the next run does that.
            return set()
        # Empty folders, too.
        return {
            os.path.relpath(os.path.join(path, name), self.folder)
            for path, folders, names in os.walk(self.folder)
            for name in (*folders, *names)
            if ".unfinished-" in name
        }


class AddsPiece(BacksUp):
    """An incremental backup."""

    name = "incremental backup"

    def prepare(self) -> None:
        super().prepare()
        self.back_up()
        with open(self.path("before"), "wb") as file:
            file.write(b"".join(self.wanted()))
        with self._database() as database:
            for number in range(3, 5):
                self._commit(database, number)

    def before(self) -> list[bytes]:
        with open(self.path("before"), "rb") as file:
            content = file.read()
        return [content[at : at + 8] for at in range(0, len(content), 8)]


class RemovesSeries(AddsPiece):
    """A full backup, after which the ones before it are removed."""

    name = "old backup removed"
    full = True
    keep = 1

    def left_over(self, killed: bool) -> set[str]:
        # What is left of an old backup is removed by the next run.
        left_over = super().left_over(killed)
        return {name for name in left_over if killed or ".unfinished-series-" not in name}

    def restarted(self, journal: Journal) -> None:
        super().restarted(journal)
        assert len(Target(self.path("backup")).numbers()) == 1


class Restores(AddsPiece):
    """A backup is restored."""

    name = "backup restored"

    def prepare(self) -> None:
        super().prepare()
        self.back_up()

    def run(self, journal: Journal) -> None:
        try:
            self._restore(self.path("new"))
        except (BackupError, OSError) as error:
            journal.refused(error)
        else:
            journal.note("done", True)

    def _restore(self, place: str) -> None:
        series, until = selected(Target(self.path("backup")), None, None)
        with new_folder(place) as folder:
            losses = Losses(False)
            restored = write_database(series, until, folder, _nothing, losses)
            read_back(folder, restored, until, _nothing, losses)

    def mended(self, journal: Journal) -> None:
        gc.collect()
        self._check_new(journal)

    def restarted(self, journal: Journal) -> None:
        self._check_new(journal)
        if not os.path.exists(self.path("new")):
            self.run(journal)
        assert journal.of("done") or os.path.exists(self.path("new"))
        # It may have been killed after it was done; any other restore removes what is left then.
        self._restore(self.path("other"))

    def _check_new(self, journal: Journal) -> None:
        if not os.path.exists(self.path("new")):
            assert not journal.of("done")
            return
        with contextlib.closing(
            FileStorage(self.path("new", "Data.fs"), blob_dir=self.path("new", "blobs"))
        ) as storage:
            assert [each.tid for each in storage.iterator()] == self.wanted()
            for each in storage.iterator():
                for record in each:
                    if record.data and storage.is_blob_record(record.data):
                        with open(storage.loadBlob(record.oid, record.tid), "rb") as blob:
                            assert len(blob.read()) == len(b"content 1" * 2000)

    def left_over(self, killed: bool) -> set[str]:
        # A folder stays with what could not be removed; the next restore removes it.
        stay = {
            os.path.relpath(os.path.dirname(path), self.folder) for path in self.disk.not_removed
        }
        return super().left_over(killed) - stay
