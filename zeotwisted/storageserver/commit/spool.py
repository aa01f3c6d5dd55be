"""A list of plain tuples that moves to disk when it gets long."""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from zeotwisted.files import known_folder

from ..limits import LimitReached, TransactionLimits

__all__ = ["Spool"]

#: Default number of bytes that a spool keeps in memory.
_IN_MEMORY = 4 * 1024 * 1024

#: A spool may keep this number of bytes in memory even if all spools together take too much, so
#: that small transactions never wait for the disk. They are not counted, which takes time.
_ALWAYS = 64 * 1024


def _temporary_file(folder: str) -> IO[bytes]:
    return tempfile.TemporaryFile(prefix="zeotwisted-", dir=folder, buffering=0)


class Spool:
    """A list: entries are appended, and can be iterated over more than once.

    Entries are written to disk only when the memory limit is reached. The file has no name, so the
    system removes it when the process ends.

    :param directory: the folder of the file; None for the system's folder for temporary files.
    :param in_memory: how many bytes to keep in memory.
    :param limits: what all spools may take together; None for no limits.
    """

    def __init__(
        self,
        directory: str | None = None,
        in_memory: int = _IN_MEMORY,
        limits: TransactionLimits | None = None,
    ) -> None:
        self._path = directory or tempfile.gettempdir()
        self._folder = known_folder(self._path)
        self._limits = limits or TransactionLimits.unlimited()
        # How many bytes of the limits of memory and disk this spool has taken.
        self._counted = 0
        self._on_disk = 0
        self._in_memory = in_memory
        self._free = min(_ALWAYS, in_memory)
        self._recent: list[tuple[Any, ...]] = []
        self._recent_size = 0
        # Unbuffered: a write to a full disk fails at once, and not in a later call.
        self._file: IO[bytes] | None = None
        self._file_size = 0
        self._in_file = 0

    def __len__(self) -> int:
        return self._in_file + len(self._recent)

    def append(self, entry: tuple[Any, ...], size: int) -> None:
        """Add `entry`, which takes about `size` bytes.

        :raises OSError: the file cannot be written, as on a full disk. The entry is not added.
        :raises LimitReached: all spools together take too much. The entry is not added.
        """
        self._recent.append(entry)
        after = self._recent_size + size
        if after > self._free and not self._fits(after):
            try:
                self._spill(after)
            except (OSError, LimitReached):
                self._recent.pop()
                raise
            self._forget_recent()
        else:
            self._recent_size = after

    def _fits(self, after: int) -> bool:
        """Return whether this spool may keep `after` bytes in memory; count them if it may."""
        if after > self._in_memory:
            return False
        memory = self._limits.memory
        more = after - self._counted
        if not memory.fits(more):
            memory.strike()
            return False
        memory.add(more)
        self._counted = after
        return True

    def _forget_recent(self) -> None:
        self._recent.clear()
        self._recent_size = 0
        self._limits.memory.add(-self._counted)
        self._counted = 0

    def _open(self) -> IO[bytes]:
        self._limits.files.take("there are too many long transactions at the same time")
        try:
            return self._folder.use(_temporary_file)
        except BaseException:
            self._limits.files.add(-1)
            raise

    def _spill(self, size: int) -> None:
        if self._file is None:
            self._file = self._open()
        self._limits.reserve.check(self._file.fileno(), size, self._path)
        self._limits.disk.take("transactions take too much room on the server's disk", size)
        self._on_disk += size
        self._file.seek(self._file_size)
        try:
            for entry in self._recent:
                view = memoryview(pickle.dumps(entry, pickle.HIGHEST_PROTOCOL))
                while view:
                    view = view[self._file.write(view) :]
        except OSError:
            self._file.truncate(self._file_size)
            raise
        self._file_size = self._file.tell()
        self._in_file += len(self._recent)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self._file is not None:
            self._file.seek(0)
            with os.fdopen(self._file.fileno(), "rb", closefd=False) as reader:
                for _ in range(self._in_file):
                    # Safe to unpickle: this process wrote the file, which has no name.
                    yield pickle.load(reader)
        yield from self._recent

    def close(self) -> None:
        """Remove the entries and the file."""
        self._forget_recent()
        self._limits.disk.add(-self._on_disk)
        self._on_disk = 0
        if self._file is not None:
            self._file.close()
            self._file = None
            self._limits.files.add(-1)
        self._file_size = self._in_file = 0
