"""Checks a backup without restoring it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from struct import error as StructError
from typing import Any, NamedTuple

from ZODB.FileStorage.format import CorruptedError

from .errors import DamagedBackup
from .manifest import Part
from .names import BLOB_LIST, INDEX, MISSING, parse_blob_name
from .partreader import PartReader
from .parts import REMEDY, decompressed
from .target import Piece, Series

__all__ = ["ListedBlob", "blob_list", "damages", "file_digest", "missing_blobs", "readable_blobs"]

_BLOCK = 2**18


def file_digest(path: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    :raises DamagedBackup: it is missing.
    """
    digest = sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except FileNotFoundError:
        raise DamagedBackup(f"{path}: is missing; {REMEDY}") from None
    return digest.hexdigest()


def _check_digest(path: str, wanted: str) -> None:
    found = file_digest(path)
    if found != wanted:
        raise DamagedBackup(
            f"{path}: is damaged, its SHA-256 is {found} and not {wanted}; {REMEDY}"
        )


class ListedBlob(NamedTuple):
    """A blob in a piece."""

    oid: bytes
    tid: bytes
    path: str
    digest: str


def blob_list(piece: Piece) -> Iterator[ListedBlob]:
    """Yield the blobs of a piece, in the order of the records.

    :raises DamagedBackup: the list is damaged.
    """
    path = piece.file(BLOB_LIST)
    _check_digest(path, piece.manifest.blob_list)
    with open(path, encoding="ascii") as file:
        for line in file:
            digest, name = line.split()
            try:
                oid, tid = parse_blob_name(name)
            except ValueError:
                raise DamagedBackup(f"{path}: {name!r} is no name of a blob; {REMEDY}") from None
            yield ListedBlob(oid, tid, piece.file(name), digest)


def readable_blobs(piece: Piece) -> Iterator[ListedBlob]:
    """Yield the blobs of a list that is damaged: those in lines that can be read."""
    path = piece.file(BLOB_LIST)
    if not os.path.exists(path):
        return
    with open(path, encoding="ascii", errors="replace") as file:
        for line in file:
            try:
                digest, name = line.split()
                oid, tid = parse_blob_name(name)
            except ValueError:
                continue
            yield ListedBlob(oid, tid, piece.file(name), digest)


def missing_blobs(piece: Piece) -> Iterator[tuple[bytes, bytes]]:
    """Yield oid and tid of the blobs that the source did not have.

    :raises DamagedBackup: the list is damaged.
    """
    if not piece.manifest.missing:
        return
    path = piece.file(MISSING)
    _check_digest(path, piece.manifest.missing_list)
    with open(path, encoding="ascii") as file:
        for line in file:
            oid, tid = line.split()
            yield bytes.fromhex(oid), bytes.fromhex(tid)


def damages(series: Series, report: Callable[[int, int, float], Any]) -> Iterator[str]:
    """Yield a line for each file of a series that is damaged or missing.

    :param report: is told how many bytes and transactions were checked, and which part of all.
    """
    whole = sum(piece.manifest.size for piece in series.pieces) or 1
    done = transactions = 0
    for piece in series.pieces:
        manifest = piece.manifest
        for part in manifest.parts:
            yield from _caught(_check_part, piece, part)
            done, transactions = done + part.size, transactions + part.transactions
            report(done, transactions, done / whole)
        yield from _caught(lambda piece: list(missing_blobs(piece)), piece)
        if manifest.index is not None and os.path.exists(piece.file(INDEX)):
            yield from _caught(_check_digest, piece.file(INDEX), manifest.index.sha256)
        try:
            for blob in blob_list(piece):
                yield from _caught(_check_digest, blob.path, blob.digest)
                done += os.path.getsize(blob.path) if os.path.exists(blob.path) else 0
                report(done, transactions, done / whole)
        except DamagedBackup as error:
            yield str(error)


def _caught(check: Callable[..., Any], *arguments: Any) -> Iterator[str]:
    try:
        check(*arguments)
    except DamagedBackup as error:
        yield str(error)
    except OSError as error:
        # A disk that cannot be read.
        yield f"{error.filename or arguments}: {error.strerror}; {REMEDY}"


def _check_part(piece: Piece, part: Part) -> None:
    path = piece.file(part.name)
    reader = PartReader(part.start, part.end, decompressed(path, part))
    try:
        records = sum(1 for _ in reader.positions())
    except (CorruptedError, StructError, ValueError) as error:
        raise DamagedBackup(
            f"{path}: its transactions cannot be read ({error}); {REMEDY}"
        ) from None
    finally:
        reader.close()
    if records != part.records:
        raise DamagedBackup(f"{path}: has {records} records and not {part.records}; {REMEDY}")
