"""Restores a backup: writes all to a new folder, reads it back, and then gives it its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import IO, Any, NamedTuple

from ZODB.blob import FilesystemHelper
from ZODB.FileStorage.format import TRANS_HDR_LEN, TxnHeaderFromString

from .checking import ListedBlob
from .errors import BackupError, DamagedBackup
from .losses import Losses
from .manifest import Part
from .outputs import sync_folder, sync_tree
from .parts import REMEDY, decompressed
from .records import MAGIC
from .target import Piece, Series
from .workplaces import workplace

__all__ = ["BLOBS", "DATA", "Restored", "new_folder", "write_database"]

DATA = "Data.fs"
BLOBS = "blobs"

_BLOCK = 2**18

#: Gets bytes and transactions that were done, and which part of all.
Report = Callable[[int, int, float], Any]


class Restored(NamedTuple):
    """What was written.

    :ivar pieces: those that were used, each with its parts that are there as a whole.
    :ivar cut: the last part, if only some of its transactions are there; with its file.
    :ivar end: the length of the ``Data.fs``, in bytes.
    """

    pieces: list[tuple[Piece, list[Part]]]
    cut: tuple[str, Part] | None
    end: int


@contextmanager
def new_folder(path: str) -> Iterator[str]:
    """Make a folder that gets its name when the context ends without an exception.

    :raises BackupError: there is something at the path.
    """
    path = os.path.abspath(path)
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise BackupError(f"{path} is there already, and is not overwritten; choose another path")
    if os.path.ismount(path):
        raise BackupError(f"{path} is where a disk is mounted; choose a folder in it")
    parent, name = os.path.split(path)
    if not os.path.isdir(parent):
        raise BackupError(f"{parent} is not a folder; make it, or choose another path")
    with workplace(parent) as place:
        unfinished = os.path.join(place, name)
        os.mkdir(unfinished, 0o700)
        yield unfinished
        sync_tree(unfinished)
        # A system's rename replaces an empty folder, and no other.
        os.rename(unfinished, path)
        sync_folder(parent)


def write_database(
    series: Series, until: bytes | None, folder: str, report: Report, losses: Losses
) -> Restored:
    """Write the records and the blobs into a folder.

    :param until: the last tid to write; None for all.
    :param losses: gets the blobs that are damaged.
    :raises DamagedBackup: a file of the backup is damaged.
    """
    whole = sum(piece.manifest.size for piece in series.pieces) or 1
    done = transactions = 0
    pieces: list[tuple[Piece, list[Part]]] = []
    cut = None
    blobs = _Blobs(os.path.join(folder, BLOBS))
    with open(os.path.join(folder, DATA), "xb+") as file:
        for piece in series.pieces:
            parts: list[Part] = []
            pieces.append((piece, parts))
            for part in piece.manifest.parts:
                path = piece.file(part.name)
                for block in decompressed(path, part):
                    file.write(block)
                done, transactions = done + part.size, transactions + part.transactions
                report(done, transactions, done / whole)
                if until is not None and part.last > until.hex():
                    cut = path, part
                    file.truncate(_cut(file, part, until))
                    break
                parts.append(part)
            for blob in losses.listed(piece):
                if until is None or blob.tid <= until:
                    try:
                        done += blobs.write(blob)
                    except DamagedBackup as error:
                        losses.leave_out(blob.oid, blob.tid, error)
                    report(done, transactions, done / whole)
            if cut is not None:
                break
        end = file.seek(0, os.SEEK_END)
    return Restored(pieces, cut, end)


def _cut(file: IO[bytes], part: Part, until: bytes) -> int:
    """Return the position of the first transaction of a part that is later."""
    position = max(part.start, len(MAGIC))
    while position < part.end:
        file.seek(position)
        header = TxnHeaderFromString(file.read(TRANS_HDR_LEN))
        if header.tid > until:
            break
        position += header.tlen + 8
    return position


class _Blobs:
    """The folder for blobs, in FileStorage's layout. It is made with the first one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._helper: Any = None

    def write(self, blob: ListedBlob) -> int:
        """Copy a blob; return its size, in bytes.

        :raises DamagedBackup: it is damaged. It is not there then.
        """
        if self._helper is None:
            self._helper = FilesystemHelper(self._path, "bushy")
            self._helper.create()
        name = self._helper.getBlobFilename(blob.oid, blob.tid)
        os.makedirs(os.path.dirname(name), exist_ok=True)
        digest, size = sha256(), 0
        try:
            with open(name, "xb") as file:
                for block in _blocks(blob.path):
                    file.write(block)
                    digest.update(block)
                    size += len(block)
            if digest.hexdigest() != blob.digest:
                raise DamagedBackup(
                    f"{blob.path}: is damaged, its SHA-256 is {digest.hexdigest()} and not "
                    f"{blob.digest}; {REMEDY}"
                )
        except DamagedBackup:
            os.remove(name)
            raise
        return size


def _blocks(path: str) -> Iterator[bytes]:
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise DamagedBackup(f"{path}: is missing; {REMEDY}") from None
    with file:
        while True:
            try:
                block = file.read(_BLOCK)
            except OSError as error:
                # The disk of the backup, and not that of the restore.
                raise DamagedBackup(
                    f"{path}: cannot be read ({error.strerror}); {REMEDY}"
                ) from None
            if not block:
                return
            yield block
