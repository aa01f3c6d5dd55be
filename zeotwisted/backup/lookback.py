"""Finds earlier records of a backup, for records that have their data again.

An undo makes such records. They are few, so a part is decompressed and searched for each
transaction that was undone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from .manifest import Part
from .partreader import PartReader
from .parts import PartWriter, decompressed, decompressed_so_far

__all__ = ["Lookback", "find_nothing"]


def find_nothing(oid: bytes, tid: bytes, data: bytes) -> int:
    """Find no record: what is in a stream cannot be read again."""
    return 0


class Lookback:
    """The parts of a series that can be read."""

    def __init__(self) -> None:
        self._parts: list[tuple[str, Part]] = []
        self._tids: list[bytes] = []
        self._open: tuple[str, PartWriter, int] | None = None
        self._read: PartReader | None = None
        self._which: tuple[str, int] | None = None

    def add(self, path: str, part: Part) -> None:
        """Add a complete part."""
        self._open = None
        self._parts.append((path, part))
        self._tids.append(bytes.fromhex(part.last))

    def writing(self, path: str, part: PartWriter, start: int) -> None:
        """Add the part that is being written, for now."""
        self._open = path, part, start

    def find(self, oid: bytes, tid: bytes, data: bytes) -> int:
        """Return the position of the record of an object in a transaction.

        0 if it is not there, or has other data.
        """
        number = bisect_left(self._tids, tid)
        if number < len(self._parts):
            path, part = self._parts[number]
            reader = self._reader(path, part.start, part.end, decompressed(path, part))
        elif self._open is not None and self._open[1].length:
            path, writer, start = self._open
            writer.flush()
            end = start + writer.length
            reader = self._reader(path, start, end, decompressed_so_far(path))
        else:
            return 0
        return reader.find(oid, tid, data)

    def _reader(self, path: str, start: int, end: int, blocks: Iterable[bytes]) -> PartReader:
        if self._read is None or self._which != (path, end):
            self.close()
            self._read, self._which = PartReader(start, end, blocks), (path, end)
        return self._read

    def close(self) -> None:
        """Close the temporary file."""
        if self._read is not None:
            self._read.close()
        self._read = self._which = None
