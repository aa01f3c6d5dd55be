"""A list of plain tuples that moves to disk when it gets long."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from typing import IO, Any

__all__ = ["Spool"]

#: Bytes that a spool keeps in memory, unless told otherwise.
_IN_MEMORY = 4 * 1024 * 1024


class Spool:
    """Append entries, then read them back in order, as often as needed.

    The disk is touched only by what does not fit into memory. The file has no name, so that nothing
    of it outlives the process.

    :param in_memory: how many bytes to keep in memory.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._recent: list[tuple[Any, ...]] = []
        self._recent_size = 0
        self._file: IO[bytes] | None = None
        self._in_file = 0

    def __len__(self) -> int:
        return self._in_file + len(self._recent)

    def append(self, entry: tuple[Any, ...], size: int) -> None:
        """Add `entry`, which takes about `size` bytes.

        :raises OSError: the disk is full.
        """
        self._recent.append(entry)
        self._recent_size += size
        if self._recent_size > self._in_memory:
            self._spill()

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(  # noqa: SIM115 - it lives as long as the spool
                prefix="zeotwisted-"
            )
        self._file.seek(0, 2)
        for entry in self._recent:
            pickle.dump(entry, self._file, pickle.HIGHEST_PROTOCOL)
        self._in_file += len(self._recent)
        self._recent.clear()
        self._recent_size = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self._file is not None:
            self._file.seek(0)
            for _ in range(self._in_file):
                # These bytes never left this process.
                yield pickle.load(self._file)
        yield from self._recent

    def close(self) -> None:
        """Forget the entries and give the disk space back."""
        self._recent.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._in_file = 0
