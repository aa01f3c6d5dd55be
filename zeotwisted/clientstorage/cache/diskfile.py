"""The file of a cache: opens, locks, recognises, renames and releases it.

The first block has a header with the magic and the size, see `DiskFile.mark_complete`, and the
states of the logs, see `log`. This module does not read the logs.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import mmap
import os
from struct import Struct
from typing import Any
from zlib import crc32

import zc.lockfile
from ZODB.utils import p64

from zeotwisted.exceptions import ClientStorageError
from zeotwisted.files import Folder, remove_file

from .log import Damaged, write_all

__all__ = ["BLOCK", "STATES", "CacheFileError", "DiskFile", "in_use"]

_MAGIC = b"zeotwisted cache 2\n\0\0\0\0\0"
_HEADER = Struct(f">{len(_MAGIC)}sQI")
#: The length of the first block, in bytes.
BLOCK = 4096
#: The offsets of the states of the two logs in the first block.
STATES = (512, 1024)
#: The first bytes of the files of all versions.
_OTHER_VERSION = b"zeotwisted cache "
#: The first bytes of ZEO's cache files.
_ZEO_MAGIC = b"ZEC"


class CacheFileError(ClientStorageError):
    """A cache file cannot be used."""


class DiskFile:
    """A cache's file, locked against other caches.

    There are two locks: the file ``path + ".lock"``, which a user may remove, and a lock of the
    file itself.

    :param path: the file; it is created if it does not exist.
    :raises CacheFileError: another storage uses it, or it cannot be locked.
    :ivar number: the file's descriptor; -1 when it is closed.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.number = -1
        self._map: mmap.mmap | None = None
        self._folder = Folder(os.path.dirname(self.path))
        self._lock_file = _lock_file(self.path)

    @property
    def is_open(self) -> bool:
        """Whether there is a file to read and write."""
        return self.number >= 0

    def open(self) -> None:
        """Open the file, and lock it.

        :raises BlockingIOError: another cache has it, see `in_use`.
        :raises OSError: it cannot be opened.
        """
        self.number = self._folder.use(
            lambda _: os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        )
        fcntl.flock(self.number, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def size(self) -> int | None:
        """Return the size of the cache in the file, in bytes; None if the file has no cache.

        :raises Damaged: the file is a cache that cannot be used.
        :raises CacheFileError: the file is not a cache.
        """
        header = os.pread(self.number, BLOCK, 0)
        # If a process was killed while it created the file, there may be states, but no header.
        # After a loss of power, there may be the beginning of one.
        if _MAGIC.startswith(header[: min(STATES)].rstrip(b"\0")):
            return None
        if header.startswith(_ZEO_MAGIC):
            raise Damaged("it is a cache of ZEO's")
        if header.startswith(_OTHER_VERSION) and not header.startswith(_MAGIC):
            raise Damaged("it is of another version")
        if not header.startswith(_MAGIC):
            raise CacheFileError(
                f"{self.path}: this is not a cache file; choose another path for the cache"
            )
        checked = header[: _HEADER.size - 4]
        if len(header) < BLOCK or crc32(checked).to_bytes(4, "big") != header[len(checked) :][:4]:
            raise Damaged("its header is damaged")
        size: int = _HEADER.unpack_from(header)[1]
        if os.fstat(self.number).st_size != size:
            raise Damaged("it is cut off")
        return size

    def make_empty(self, size: int) -> None:
        """Fill the file with `size` zero bytes, and reserve the space on the disk if possible."""
        os.ftruncate(self.number, 0)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(self.number, 0, size)
        else:
            os.ftruncate(self.number, size)

    def mark_complete(self, size: int) -> None:
        """Write the header. Do this last: without a header the file counts as empty."""
        header = _MAGIC + p64(size)
        write_all(self.number, header + crc32(header).to_bytes(4, "big"), 0)

    def map(self, size: int) -> mmap.mmap:
        """Return a map of the file, for reading."""
        self._map = mmap.mmap(self.number, size, access=mmap.ACCESS_READ)
        return self._map

    def rename(self, aside: str | None = None) -> str:
        """Rename and close the file; return the new name. `open` makes an empty one in its place.

        :param aside: the new name; None for one that is not used.
        """
        aside = aside or _unused_name(self.path)
        # FileNotFoundError: the file, or its folder, was removed.
        with contextlib.suppress(FileNotFoundError):
            os.rename(self.path, aside)
        self._close()
        return aside

    @property
    def resized(self) -> str:
        """The name of the file while its records are copied into one of another size."""
        return self.path + ".resized"

    def restore_resized(self) -> None:
        """Take the file back whose records were not all copied: a process ended in between.

        :raises OSError: that is not possible.
        """
        if os.path.exists(self.resized):
            remove_file(self.resized + ".lock")
            os.replace(self.resized, self.path)

    def remove_resized(self) -> None:
        """Remove the file whose records have been copied."""
        # In this order, so that there is no lock without its file.
        remove_file(self.resized + ".lock")
        remove_file(self.resized)

    def _close(self, unlock: bool = True) -> None:
        number, self.number = self.number, -1
        if self._map is not None:
            # It has a descriptor of its own, which would keep the lock.
            self._map.close()
            self._map = None
        if unlock:
            # Explicitly: a child process has a copy of the descriptor, which would keep the lock.
            fcntl.flock(number, fcntl.LOCK_UN)
        os.close(number)

    def release(self) -> None:
        """Close the file and release the locks."""
        if self.is_open:
            self._close()
        lock_file, self._lock_file = self._lock_file, None
        if lock_file is not None:
            lock_file.close()

    def abandon(self) -> None:
        """After fork: close the child's copies, and leave the locks to the parent."""
        if self.is_open:
            self._close(unlock=False)
        lock_file, self._lock_file = self._lock_file, None
        if lock_file is not None:
            # Not `lock_file.close()`: that would release the parent's lock.
            lock_file._fp.close()


def in_use(path: str) -> CacheFileError:
    """Return the exception for a file that another storage uses."""
    return CacheFileError(
        f"{path}: another storage uses this cache file; give each its own, "
        "with another cache= or client="
    )


def _lock_file(path: str) -> Any:
    try:
        return zc.lockfile.LockFile(path + ".lock")
    except zc.lockfile.LockError:
        raise in_use(path) from None
    except OSError as error:
        raise CacheFileError(
            f"{path}: cannot be locked: {error.strerror or error}; choose another path for the "
            "cache, or make its folder writable"
        ) from error


def _unused_name(path: str) -> str:
    for number in itertools.count(1):
        name = f"{path}.bak{number}"
        if not os.path.exists(name):
            return name
    raise AssertionError
