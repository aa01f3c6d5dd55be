"""The disk of a daemon: a FileStorage's file fails, fills up, or loses what was not synced.

The bytes are in a real file. The disk remembers what was written since the last sync, and what was
there before, so that a loss of power can take it back. Writes reach the disk in their order, as
FileStorage has no checksums that could notice anything else; the last one may be torn.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import ZODB.FileStorage

from .scheduler import Scheduler

__all__ = ["Disk", "install"]

_real_open = builtins.open
_real_fsync = os.fsync
_disks: dict[str, Disk] = {}
_descriptors: dict[int, _File] = {}


class Disk:
    """The disk below one folder.

    :ivar full: whether writes that make a file longer fail, or are short.
    :ivar failures: how many of the next writes and syncs fail; the first fails after `good` others.
    """

    def __init__(self, scheduler: Scheduler, folder: Path) -> None:
        self.folder = folder
        self.full = False
        self.failures = 0
        self.good = 0
        self._scheduler = scheduler
        # For each file, what was done since the last sync. The first is the oldest.
        self._unsynced: dict[str, list[_Change]] = {}
        self._files: list[_File] = []
        self._raised: list[OSError] = []
        _disks[str(folder)] = self

    def open(self, path: str, mode: str) -> Any:
        """Open a file that FileStorage writes."""
        file = _File(self, path, mode)
        self._files.append(file)
        _descriptors[file.fileno()] = file
        return io.BufferedRandom(file)

    def step(self) -> None:
        """Let others go on, as a process may be killed here; then perhaps fail.

        :raises OSError: as the disk decides.
        """
        self._scheduler.pause()
        if self.failures:
            if self.good:
                self.good -= 1
            else:
                self.failures -= 1
                raise self._fault(errno.EIO)

    def taken(self, size: int, longer: int) -> int:
        """Return how many of `size` bytes are written, of which the last ones need space.

        :param longer: how many need space.
        :raises OSError: there is no space.
        """
        if not self.full or not longer:
            return size
        # There may be some space left.
        taken = size - longer + self._scheduler.random.choice([0, 0, longer // 2])
        if not taken:
            raise self._fault(errno.ENOSPC)
        return taken

    def _fault(self, number: int) -> OSError:
        error = OSError(number, os.strerror(number))
        self._raised.append(error)
        return error

    @property
    def has_failed(self) -> bool:
        """Whether a fault has happened."""
        return bool(self._raised)

    def has_caused(self, error: BaseException | None) -> bool:
        """Return whether an exception is one of the disk's, or follows from one."""
        while error is not None:
            if any(error is each for each in self._raised):
                return True
            error = error.__cause__ or error.__context__
        return False

    def changed(self, path: str, change: _Change) -> None:
        """Remember a change until the next sync."""
        self._unsynced.setdefault(path, []).append(change)

    def synced(self, path: str) -> None:
        """All writes to a file have reached the disk."""
        self._unsynced.pop(path, None)

    def process_ended(self, power: bool) -> None:
        """Nothing of the process writes any more.

        :param power: the machine has lost power, too, and some of the last writes.
        """
        for file in self._files:
            file.dead = True
        self._files.clear()
        unsynced, self._unsynced = self._unsynced, {}
        self.full, self.failures = False, 0
        if power:
            for path, writes in unsynced.items():
                self._take_back(path, writes)

    def _take_back(self, path: str, changes: list[_Change]) -> None:
        random = self._scheduler.random
        lost = changes[random.randint(0, len(changes)) :]
        with _real_open(path, "r+b") as file:
            for change in reversed(lost):
                # The beginning of the first change that is lost may have reached the disk.
                kept = random.randint(0, change.length) if change is lost[0] else 0
                file.seek(change.offset + kept)
                file.write(change.before[kept:])
                file.truncate(max(change.size, change.offset + kept))


class _Change(NamedTuple):
    """A write, or a truncation.

    :ivar offset: where it begins in the file.
    :ivar before: the bytes that were there.
    :ivar size: the size of the file before.
    :ivar length: how many bytes were written.
    """

    offset: int
    before: bytes
    size: int
    length: int


class _File(io.RawIOBase):
    """A file of a disk, below Python's buffer."""

    def __init__(self, disk: Disk, path: str, mode: str) -> None:
        self.dead = False
        self._disk = disk
        self._path = path
        self._file = io.FileIO(path, mode.replace("b", ""))

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, buffer: Any) -> int | None:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def write(self, data: Any) -> int | None:
        if self.dead:
            # Python empties the buffer of a file that nobody needs any more.
            return len(data)
        position = self._file.tell()
        size = os.fstat(self._file.fileno()).st_size
        self._disk.step()
        if self.dead:
            return len(data)
        taken = self._disk.taken(len(data), max(0, position + len(data) - size))
        before = os.pread(self._file.fileno(), taken, position)
        self._disk.changed(self._path, _Change(position, before, size, taken))
        self._file.seek(position)
        return self._file.write(data[:taken])

    def truncate(self, size: int | None = None) -> int:
        if self.dead:
            return 0
        length = self._file.tell() if size is None else size
        old = os.fstat(self._file.fileno()).st_size
        self._disk.step()
        before = os.pread(self._file.fileno(), max(0, old - length), length)
        self._disk.changed(self._path, _Change(length, before, old, 0))
        return self._file.truncate(size)

    def sync(self) -> None:
        self._disk.step()
        if not self.dead:
            self._disk.synced(self._path)

    def close(self) -> None:
        if not self.closed:
            _descriptors.pop(self._file.fileno(), None)
            super().close()
            self._file.close()


def _open(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
    disk = _disks.get(os.path.dirname(os.fspath(path)))
    if disk is None or mode not in ("r+b", "w+b") or not str(path).endswith(".fs"):
        return _real_open(path, mode, *args, **kwargs)
    return disk.open(os.fspath(path), mode)


def _fsync(descriptor: int) -> None:
    file = _descriptors.get(descriptor)
    if file is not None:
        file.sync()


def install() -> None:
    """Let FileStorage use the simulated disks."""
    # The package has a class of the same name as the module.
    module: Any = sys.modules[f"{ZODB.FileStorage.__name__}.FileStorage"]
    module.open = _open
    module.fsync = _fsync
