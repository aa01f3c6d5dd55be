"""Writes a piece: all transactions after a start, with their blobs, and the manifest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from hashlib import sha256
from typing import IO, Any

from ZODB.blob import is_blob_record
from ZODB.POSException import POSKeyError
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import z64

from .content import Content
from .errors import BackupError, PackedMeanwhile
from .identity import landmarks_of
from .lookback import find_nothing
from .manifest import Index, Manifest, Part
from .names import BLOB_LIST, CHECKSUM, INDEX, MANIFEST, MISSING, blob_name, part_name
from .outputs import FolderOutput, Output
from .parts import PART_SIZE, PartWriter
from .records import MAGIC, TransactionWriter
from .source import Source, damaged, may_be_blob
from .start import Start
from .target import checksum_line

__all__ = ["PieceWriter"]

_BLOCK = 2**18

#: Gets bytes, transactions, and which part is done, if that is known.
Report = Callable[[int, int, "float | None"], Any]


class PieceWriter:
    """Writes a piece.

    :param source: is read.
    :param output: gets the files.
    :param start: where the piece begins.
    :param allow_missing: go on if the source does not have a blob that it should have.
    :param report: is told how far it is.
    """

    def __init__(
        self, source: Source, output: Output, start: Start, allow_missing: bool, report: Report
    ) -> None:
        self._source = source
        self._output = output
        self._start = start
        self._allow_missing = allow_missing
        self._report = report
        self._folder = output if isinstance(output, FolderOutput) else None
        self._writer = TransactionWriter(
            lambda data: self._part.write(data),
            start.lookback.find if self._folder else find_nothing,
            start.index,
            start.position or len(MAGIC),
        )
        self._parts: list[Part] = []
        self._first = self._last = self._packed = b""
        self._transactions = 0
        self._blobs = self._blob_bytes = 0
        self._missing: list[str] = []

    def write(self) -> Manifest:
        """Write all of it; return the manifest.

        :raises PackedMeanwhile: a blob is gone, because the database was packed.
        :raises BackupError: a blob is missing.
        """
        with self._output.create(BLOB_LIST) as blob_list:
            listed = _Listed(blob_list)
            self._write_parts(listed)
        missing = self._write_missing()
        manifest = self._manifest(listed.hexdigest(), missing)
        content = manifest.dump()
        with self._output.create(MANIFEST) as file:
            file.write(content)
        with self._output.create(CHECKSUM) as file:
            file.write(checksum_line(sha256(content).hexdigest()))
        return manifest

    def _write_parts(self, blob_list: _Listed) -> None:
        transactions = self._source.transactions(self._start.tid)
        transaction = next(transactions, None)
        position = self._start.position
        # There is one part at least, also of an empty database.
        while transaction is not None or not self._parts:
            number = len(self._parts) + 1
            self._writer.content = Content()
            count, records = self._transactions, self._writer.records
            with PartWriter(self._output, number, position) as self._part:
                if not position:
                    self._part.write(MAGIC)
                if self._folder is not None:
                    path = self._folder.path(part_name(number))
                    self._start.lookback.writing(path, self._part, position)
                while transaction is not None and self._part.length < PART_SIZE:
                    self._write_transaction(transaction, blob_list)
                    transaction = next(transactions, None)
            part = self._part.described(
                self._last.hex(),
                self._transactions - count,
                self._writer.records - records,
                self._writer.content.hexdigest(),
            )
            self._parts.append(part)
            if self._folder is not None:
                self._start.lookback.add(self._folder.path(part.name), part)
            position = part.end
        self._check_end()

    def _check_end(self) -> None:
        """Check that all was read: FileStorage's iterator ends without an error at damage."""
        last = self._last or self._start.tid
        if last < self._source.last and self._source.has(self._source.last):
            raise damaged(self._source.name, f"after transaction {last.hex()}")

    def _write_transaction(self, transaction: Any, blob_list: _Listed) -> None:
        tid = transaction.tid
        if tid <= (self._last or self._start.tid):
            raise damaged(self._source.name, f"at transaction {tid.hex()}, which is out of order")
        extension = getattr(transaction, "stored_extension", None)
        if not isinstance(extension, bytes):
            extension = transaction.extension_bytes
        self._writer.begin(
            tid, transaction.status, transaction.user, transaction.description, extension
        )
        try:
            blobs = set()
            for record in transaction:
                is_new = self._writer.index.get(record.oid) is None
                digest = self._writer.record(record.oid, record.tid, record.data, record.data_txn)
                if record.data is not None:
                    self._start.landmarks.record(record.oid, record.tid, digest, is_new)
                if may_be_blob(record.data) and record.oid not in blobs:
                    blobs.add(record.oid)
                    self._copy_blob(record, blob_list)
            self._writer.end()
        except BaseException:
            self._writer.abandon()
            raise
        self._first = self._first or tid
        self._last = tid
        if transaction.status == "p":
            self._packed = tid
        self._transactions += 1
        self._tell()

    def _copy_blob(self, record: Any, blob_list: _Listed) -> None:
        try:
            with self._source.open_blob(record.oid, record.tid) as blob:
                name = blob_name(record.oid, record.tid)
                with self._output.create(name) as file:
                    digest, size = _copy(blob, file)
        except POSKeyError:
            self._note_missing(record)
            return
        blob_list.add(f"{digest}  {name}\n")
        self._blobs += 1
        self._blob_bytes += size
        self._tell()

    def _note_missing(self, record: Any) -> None:
        if not is_blob_record(record.data):
            # It looked as if it might be a blob's.
            return
        if self._source.is_packed_away(record.oid, record.tid):
            raise PackedMeanwhile(f"{self._source.name} was packed while it was backed up")
        which = f"{record.oid.hex()} {record.tid.hex()}"
        if not self._allow_missing:
            raise BackupError(
                f"{self._source.name} does not have the blob of oid and tid {which}; give its "
                "folder (--blobs, or blob-dir at the server), or back up without the blobs that "
                "are missing (--allow-missing-blobs)"
            )
        self._missing.append(which)

    def _write_missing(self) -> str:
        if not self._missing:
            return ""
        content = "".join(f"{line}\n" for line in self._missing).encode()
        with self._output.create(MISSING) as file:
            file.write(content)
        return sha256(content).hexdigest()

    def _tell(self) -> None:
        done = self._writer.position - self._start.position
        self._report(done + self._blob_bytes, self._transactions, self._fraction(done))

    def _fraction(self, done: int) -> float | None:
        if not self._start.previous:
            return done / self._source.size if self._source.size else None
        first, last, now = (
            TimeStamp(tid).timeTime()
            for tid in (self._start.tid, self._source.last, self._last or self._start.tid)
        )
        return (now - first) / (last - first) if last > first else None

    def _manifest(self, blob_list: str, missing: str) -> Manifest:
        start = self._start
        last = self._last or start.tid
        return Manifest(
            series=start.series,
            piece=start.piece,
            previous=start.previous,
            made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            source=self._source.name,
            after=start.tid.hex() if start.tid != z64 else "",
            first=self._first.hex(),
            last=last.hex(),
            transactions=self._transactions,
            records=self._writer.records,
            packed_until=self._packed.hex(),
            parts=self._parts,
            blobs=self._blobs,
            blob_bytes=self._blob_bytes,
            blob_list=blob_list,
            missing=len(self._missing),
            missing_list=missing,
            landmarks=landmarks_of(self._writer.index, last, self._source) + start.landmarks.all(),
            index=self._write_index(),
        )

    def _write_index(self) -> Index | None:
        if self._folder is None:
            return None
        path = self._folder.path(INDEX)
        self._writer.index.save(self._writer.position, path)
        with open(path, "rb") as file:
            digest = sha256()
            while block := file.read(_BLOCK):
                digest.update(block)
        return Index(INDEX, digest.hexdigest())


class _Listed:
    """The list of blobs, with its checksum."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = sha256()

    def add(self, line: str) -> None:
        content = line.encode()
        self._file.write(content)
        self._hash.update(content)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _copy(source: IO[bytes], destination: IO[bytes]) -> tuple[str, int]:
    """Copy a file; return the SHA-256 and the size."""
    digest, size = sha256(), 0
    while block := source.read(_BLOCK):
        destination.write(block)
        digest.update(block)
        size += len(block)
    return digest.hexdigest(), size
