"""Writes and reads the parts of a piece: compressed files, each with some transactions."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from hashlib import sha256
from typing import IO, Any

from .errors import DamagedBackup
from .manifest import Part
from .names import part_name
from .outputs import Output

__all__ = ["PART_SIZE", "REMEDY", "PartWriter", "decompressed", "decompressed_so_far"]

#: A part ends with the transaction that makes it larger than this, in bytes without compression.
PART_SIZE = 16 * 2**20

_BLOCK = 2**18

#: Higher levels take twice the time for some percent.
_LEVEL = 4

REMEDY = "restore an earlier transaction with --until, or another series with --series"


class _Counted:
    """Writes to a file, and makes the checksum of what is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.hash = sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self._file.write(data)
        self.hash.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


class PartWriter:
    """Writes a part. Use it as a context manager; the file is complete when that ends.

    :param number: the number of the part, in its piece.
    :param start: the position of its first byte in the ``Data.fs``.
    """

    def __init__(self, output: Output, number: int, start: int) -> None:
        self._name = part_name(number)
        self._opened = output.create(self._name)
        self._start = self._end = start

    def __enter__(self) -> PartWriter:
        self._counted = _Counted(self._opened.__enter__())
        # Without the time and the name, the same transactions make the same file.
        self._zip = gzip.GzipFile("", "wb", _LEVEL, self._counted, mtime=0)
        return self

    def __exit__(self, *exc_info: Any) -> None:
        try:
            if exc_info[0] is None:
                self._zip.close()
        except BaseException as error:
            self._opened.__exit__(type(error), error, error.__traceback__)
            raise
        self._opened.__exit__(*exc_info)

    @property
    def length(self) -> int:
        """How many bytes were written, without compression."""
        return self._end - self._start

    def write(self, data: bytes) -> None:
        """Write bytes of transactions."""
        self._zip.write(data)
        self._end += len(data)

    def flush(self) -> None:
        """Let others read from the file what was written."""
        self._zip.flush()

    def described(self, last: str, transactions: int, records: int, content: str) -> Part:
        """Return what the manifest says of the part, which is complete."""
        return Part(
            self._name,
            self._counted.size,
            self._counted.hash.hexdigest(),
            self._start,
            self._end,
            last,
            transactions,
            records,
            content,
        )


def decompressed(path: str, part: Part) -> Iterator[bytes]:
    """Yield the bytes of a part. The file is checked before the first ones.

    :param path: the file.
    :raises DamagedBackup: the file is not what was written.
    """
    try:
        with open(path, "rb") as file:
            if _digest(file) != part.sha256:
                raise DamagedBackup(
                    f"{path}: is damaged, its SHA-256 is not {part.sha256}; {REMEDY}"
                )
            file.seek(0)
            with gzip.GzipFile(fileobj=file, mode="rb") as unzipped:
                while data := unzipped.read(_BLOCK):
                    yield data
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise DamagedBackup(f"{path}: cannot be decompressed ({error}); {REMEDY}") from None
    except FileNotFoundError:
        raise DamagedBackup(f"{path}: is missing; {REMEDY}") from None


def decompressed_so_far(path: str) -> Iterator[bytes]:
    """Yield the bytes of a part that is being written, after `PartWriter.flush`."""
    unzip = zlib.decompressobj(wbits=31)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            while block:
                yield unzip.decompress(block, _BLOCK)
                block = unzip.unconsumed_tail


def _digest(file: IO[bytes]) -> str:
    digest = sha256()
    while block := file.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
