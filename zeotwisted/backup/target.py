"""The folder of a backup: series of pieces, each piece with what has come since the one before.

A piece is written in a folder whose name says that it is not finished. That is renamed when all is
on the disk, so that a piece is either complete or not there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import NamedTuple

import zc.lockfile

from .errors import BackupError, DamagedBackup
from .manifest import Manifest
from .names import (
    CHECKSUM,
    LEFTOVER,
    MANIFEST,
    PIECE,
    README,
    SERIES,
    UNFINISHED,
    piece_name,
    series_name,
)
from .outputs import FolderOutput, sync_folder

__all__ = ["Piece", "Series", "Target", "checksum_line", "readme"]


class Piece(NamedTuple):
    """A complete piece.

    :ivar path: its folder.
    :ivar digest: the SHA-256 of the manifest.
    """

    path: str
    manifest: Manifest
    digest: str

    def file(self, name: str) -> str:
        """Return the path of a file in the piece."""
        return os.path.join(self.path, name)


class Series(NamedTuple):
    """A full piece and those that follow it, oldest first."""

    number: int
    pieces: list[Piece]


_README = """This folder is a backup of a ZODB database, made by zeotwisted.

To restore it:  zeotwisted restore PATH-OF-THIS-FOLDER NEW-FOLDER
To check it:    zeotwisted backup --verify PATH-OF-THIS-FOLDER

Without that program: take the series with the highest number. The files records-*.gz of all its
pieces, uncompressed one after the other in the order of their names, are a Data.fs:

    cat series-000001/piece-*/records-*.gz | gunzip > Data.fs

blobs/XX/OID-TID.blob in a piece is the content of a blob; FileStorage's folder for blobs has it as
0xOO/0xOO/.../0xTID.blob, with one folder for each byte of the oid. In each piece,
"sha256sum -c blobs.sha256" checks the blobs, and manifest.json has the checksums of the rest.
"""


class Target:
    """The folder of a backup.

    :param path: the folder.
    :param name: what messages call it; by default its path.
    """

    def __init__(self, path: str, name: str | None = None) -> None:
        self.path = path
        self.name = path if name is None else name

    def check(self) -> None:
        """Check that this is the folder of a backup.

        :raises BackupError: it is not.
        """
        if not os.path.isdir(self.path):
            raise BackupError(f"{self.path} is not a folder with a backup; correct the path")
        if not self.numbers():
            raise BackupError(f"{self.path} has no complete backup; correct the path, or make one")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if it is not there, and keep other backups out of it.

        If this is left with an exception, and the folder has no backup, it is as before.

        :raises BackupError: there is another one; or the folder has something else in it.
        """
        is_new = self._make()
        try:
            lock = zc.lockfile.LockFile(self._lock)
        except zc.lockfile.LockError:
            raise BackupError(
                f"{self.path}: another backup is being made there; wait until it has ended"
            ) from None
        try:
            self._remove_leftovers()
            yield
        except BaseException:
            if not self.numbers():
                self._clear(is_new)
            raise
        finally:
            lock.close()

    @property
    def _lock(self) -> str:
        return os.path.join(self.path, ".lock")

    def _clear(self, is_new: bool) -> None:
        """Remove what every backup has; and the folder, if it is a new one.

        As long as the lock's file is there, nobody else gets the lock. So it goes last.
        """
        with suppress(FileNotFoundError):
            os.remove(os.path.join(self.path, README))
        os.remove(self._lock)
        if is_new:
            # It stays if another backup begins in it now.
            with suppress(OSError):
                os.rmdir(self.path)

    def _make(self) -> bool:
        """Make the folder; return whether it was not there."""
        is_new = not os.path.isdir(self.path)
        if is_new:
            os.makedirs(self.path, mode=0o700)
            sync_folder(os.path.dirname(os.path.abspath(self.path)))
        for name in os.listdir(self.path):
            known = SERIES.fullmatch(name) or LEFTOVER.fullmatch(name)
            if not known and name not in (README, ".lock"):
                raise BackupError(
                    f"{self.path} has something else in it ({name}); choose another folder, or a "
                    "new one"
                )
        return is_new

    def _remove_leftovers(self) -> None:
        for folder in (self.path, *self._series_paths()):
            for name in os.listdir(folder):
                if LEFTOVER.fullmatch(name):
                    _remove(os.path.join(folder, name))
            if folder != self.path and not _numbers(folder, PIECE):
                os.rmdir(folder)
        readme = os.path.join(self.path, README)
        if not os.path.exists(readme):
            unfinished = os.path.join(self.path, UNFINISHED + README)
            try:
                with open(unfinished, "w", encoding="utf-8") as file:
                    file.write(_README)
                os.rename(unfinished, readme)
            except BaseException:
                with suppress(OSError):
                    os.remove(unfinished)
                raise

    def _series_paths(self) -> list[str]:
        return [os.path.join(self.path, series_name(number)) for number in self._all_numbers()]

    def _all_numbers(self) -> list[int]:
        return _numbers(self.path, SERIES)

    def numbers(self) -> list[int]:
        """Return the numbers of the series that have a piece, oldest first."""
        return [
            number
            for number in self._all_numbers()
            if _numbers(os.path.join(self.path, series_name(number)), PIECE)
        ]

    def series(self, number: int | None = None, until: bytes | None = None) -> Series:
        """Return a series, with the manifests of its pieces.

        :param number: the newest one by default.
        :param until: leave out pieces that have only later transactions, even if they are damaged.
        :raises DamagedBackup: a manifest is damaged, or a piece is missing.
        :raises BackupError: there is no such series.
        """
        numbers = self.numbers()
        if number is None and numbers:
            number = numbers[-1]
        if number is None or number not in numbers:
            raise BackupError(f"{self.name} has no series {number}; it has {numbers}")
        folder = os.path.join(self.path, series_name(number))
        pieces: list[Piece] = []
        for count, found in enumerate(_numbers(folder, PIECE), 1):
            path = os.path.join(folder, piece_name(found))
            piece = _read(path)
            if found != count:
                raise DamagedBackup(
                    f"{os.path.join(folder, piece_name(count))}: is missing, and {path} is there; "
                    "put it back, or use another series"
                )
            _check_follows(pieces[-1] if pieces else None, piece)
            pieces.append(piece)
            if until is not None and bytes.fromhex(piece.manifest.last) >= until:
                break
        return Series(number, pieces)

    @contextmanager
    def adding(self, series: int, piece: int) -> Iterator[FolderOutput]:
        """Add a piece. It is there when the context ends without an exception."""
        parent = os.path.join(self.path, series_name(series))
        unfinished = os.path.join(self.path, UNFINISHED + piece_name(piece))
        os.mkdir(unfinished, 0o700)
        try:
            output = FolderOutput(unfinished)
            yield output
            output.sync()
            if not os.path.isdir(parent):
                os.mkdir(parent, 0o700)
                sync_folder(self.path)
            os.rename(unfinished, os.path.join(parent, piece_name(piece)))
        except BaseException:
            # If even this fails, the next run removes it. The first error matters more.
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        sync_folder(parent)
        sync_folder(self.path)

    def keep(self, count: int) -> list[int]:
        """Remove all series but the newest ones; return the numbers of those that were removed."""
        removed = self.numbers()[:-count]
        for number in removed:
            path = os.path.join(self.path, series_name(number))
            going = os.path.join(self.path, UNFINISHED + series_name(number))
            os.rename(path, going)
            sync_folder(self.path)
            _remove(going)
        return removed


def readme() -> str:
    """Return the text that tells people how to restore a backup."""
    return _README


def _numbers(folder: str, pattern: object) -> list[int]:
    found = (pattern.fullmatch(name) for name in os.listdir(folder))  # type: ignore[attr-defined]
    return sorted(int(match[1]) for match in found if match)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.remove(path)


def _read(path: str) -> Piece:
    name = os.path.join(path, MANIFEST)
    content = _content(name)
    digest = sha256(content).hexdigest()
    if _content(os.path.join(path, CHECKSUM)) != checksum_line(digest):
        raise DamagedBackup(
            f"{name}: is damaged, its SHA-256 is not the one in {CHECKSUM}; restore what is before "
            "this piece with --until, or another series with --series"
        )
    return Piece(path, Manifest.load(content, name), digest)


def checksum_line(digest: str) -> bytes:
    """Return the content of the file with the checksum of a manifest."""
    return f"{digest}  {MANIFEST}\n".encode()


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise DamagedBackup(f"{path}: is missing; put it back, or use another series") from None


def _check_follows(before: Piece | None, piece: Piece) -> None:
    wanted = "" if before is None else before.digest
    if piece.manifest.previous != wanted:
        raise DamagedBackup(
            f"{piece.file(MANIFEST)}: does not follow the piece before; one of them is from "
            "another backup"
        )
