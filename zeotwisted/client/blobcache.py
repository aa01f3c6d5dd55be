"""The folder in which a client keeps blobs, alone or together with other processes.

Names, layout and locks are those of ZEO's clients, so that both may use the same folder. What is
on its way into the folder is kept in `TRANSFERS` until it is complete, and a file there belongs to
a process that is alive: another process may see from the lock whether it still is.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import threading
import time

from ZODB.blob import BLOB_SUFFIX, LAYOUT_MARKER, LAYOUTS, FilesystemHelper
from ZODB.utils import u64

from zeotwisted.exceptions import ClientDisconnected, ClientStorageError

__all__ = ["LAYOUT", "TRANSFERS", "BlobCache", "BlobCacheLayout", "FileLock", "shared_folder"]

_log = logging.getLogger("zeotwisted.client")

#: The name of the layout, which marks a folder as a client's.
LAYOUT = "zeocache"

#: Where files are that are not complete, or not committed.
TRANSFERS = "transfers"

_LOCK = ".lock"

#: How long (seconds) to wait for another process that has a lock, and how often to look.
_LOCK_TIMEOUT = 600.0
_FIRST_LOOK = 0.001
_LAST_LOOK = 0.05


class BlobCacheLayout:
    """How the folder of a client's blobs is arranged."""

    #: Into how many folders the blobs are distributed.
    size = 997

    def oid_to_path(self, oid: bytes) -> str:
        """Return the folder of an object's blobs, relative to the whole."""
        return str(u64(oid) % self.size)

    def path_to_oid(self, path: str) -> bytes:
        """Raise ValueError: a folder holds the blobs of many objects."""
        raise ValueError(f"{path!r} is not the folder of one object")

    def getBlobFilePath(self, oid: bytes, tid: bytes) -> str:
        """Return the name of a blob's file, relative to the whole."""
        base, folder = divmod(u64(oid), self.size)
        return os.path.join(str(folder), f"{base}.{tid.hex()}{BLOB_SUFFIX}")


class FileLock:
    """An exclusive lock on a file, which ends with the process at the latest.

    :raises BlockingIOError: somebody else has it.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._descriptor)
            raise

    def close(self) -> None:
        """Let go. A child's copy of a parent's lock is closed, and the parent keeps the lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class BlobCache:
    """A folder of blobs, some of them on their way. Its methods may be called in any thread.

    :param folder: is made if it does not exist.
    :raises ValueError: it is something else than a client's folder of blobs.
    """

    def __init__(self, folder: str) -> None:
        _check_cache(folder)
        LAYOUTS.setdefault(LAYOUT, BlobCacheLayout())
        self.fshelper = FilesystemHelper(folder, LAYOUT)
        self.folder = os.path.abspath(folder)
        self._transfers = os.path.join(self.folder, TRANSFERS)
        _make(self.fshelper, self._transfers)
        self._closing = threading.Event()
        # In a child process these are the parent's.
        self._locks: set[FileLock] = set()
        self._making = threading.Lock()
        # This process's own folder of transfers, and the lock that says that it is alive.
        self._own = ""
        self._alive: FileLock | None = None
        self.remove_abandoned()

    def path(self, oid: bytes, tid: bytes) -> str:
        """Return where a blob is, or would be."""
        return str(self.fshelper.getBlobFilename(oid, tid))

    @staticmethod
    def use(path: str) -> bool:
        """Return whether the file is there. If so, it is in use from now on."""
        try:
            os.utime(path, (time.time(), os.stat(path).st_mtime))
        except FileNotFoundError:
            return False
        except OSError:
            # It belongs to another user.
            return os.path.exists(path)
        return True

    @staticmethod
    def put(filename: str, path: str) -> None:
        """Move a complete file to its place."""
        try:
            os.replace(filename, path)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.replace(filename, path)

    # Locks.

    def lock(self, path: str, timeout: float = _LOCK_TIMEOUT) -> FileLock:
        """Return the lock that whoever makes or removes the file `path` has to have.

        :param timeout: how long (seconds) to wait for somebody else who has it.
        :raises ClientStorageError: it was not to be had in that time.
        :raises ClientDisconnected: the storage was closed.
        """
        name = os.path.join(os.path.dirname(path), _LOCK)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        deadline = time.monotonic() + timeout
        pause = _FIRST_LOOK
        while (lock := self._try_lock(name)) is None:
            if time.monotonic() > deadline:
                raise ClientStorageError(
                    f"{name} has been locked by another process for {timeout:g} seconds"
                )
            if self._closing.wait(pause):
                raise ClientDisconnected("the storage is closed")
            pause = min(2 * pause, _LAST_LOOK)
        return lock

    def try_lock(self, path: str) -> FileLock | None:
        """Return the lock for the file `path`, or None if somebody else has it."""
        return self._try_lock(os.path.join(os.path.dirname(path), _LOCK))

    def _try_lock(self, name: str) -> FileLock | None:
        try:
            lock = FileLock(name)
        except BlockingIOError:
            return None
        self._locks.add(lock)
        return lock

    def unlock(self, lock: FileLock) -> None:
        """Let go of a lock."""
        self._locks.discard(lock)
        lock.close()

    # Transfers.

    def partial(self) -> tuple[int, str]:
        """Return the descriptor and the name of a new file, in this process's own folder."""
        return tempfile.mkstemp(dir=self._own_folder())

    def reserve(self) -> str:
        """Return a name for a file in this process's own folder. There is no such file."""
        descriptor, name = self.partial()
        os.close(descriptor)
        os.remove(name)
        return name

    def _own_folder(self) -> str:
        with self._making:
            if self._closing.is_set():
                raise ClientDisconnected("the storage is closed")
            if self._alive is None:
                # Nobody may think that the folder has been abandoned before it is locked.
                making = self.lock(os.path.join(self._transfers, "any"))
                try:
                    self._own = tempfile.mkdtemp(dir=self._transfers)
                    self._alive = FileLock(self._own + _LOCK)
                finally:
                    self.unlock(making)
            return self._own

    def remove_abandoned(self) -> None:
        """Remove what processes have left behind that do not live any more."""
        cleaning = self.try_lock(os.path.join(self._transfers, "any"))
        if cleaning is None:
            return
        try:
            for entry in list(os.scandir(self._transfers)):
                if not entry.is_dir():
                    continue
                with contextlib.suppress(BlockingIOError):
                    abandoned = FileLock(entry.path + _LOCK)
                    _log.info("removing %s, which a lost process has left behind", entry.path)
                    shutil.rmtree(entry.path, ignore_errors=True)
                    os.remove(entry.path + _LOCK)
                    abandoned.close()
        finally:
            self.unlock(cleaning)

    # The end.

    def close(self) -> None:
        """Give up what is not complete, and whoever waits for a lock."""
        self._closing.set()
        with self._making:
            alive, self._alive = self._alive, None
            if alive is not None:
                shutil.rmtree(self._own, ignore_errors=True)
                with contextlib.suppress(FileNotFoundError):
                    os.remove(self._own + _LOCK)
                alive.close()

    def forked(self) -> None:
        """This is a child process: locks and transfers are the parent's."""
        self._making = threading.Lock()
        self._closing = threading.Event()
        locks, self._locks = self._locks, set()
        for lock in locks:
            lock.close()
        alive, self._alive = self._alive, None
        if alive is not None:
            alive.close()


def shared_folder(folder: str) -> FilesystemHelper:
    """Return the server's own folder of blobs, which this machine sees, too.

    :raises ValueError: it is no server's folder.
    """
    layout = _layout(folder)
    if layout == LAYOUT:
        raise ValueError(
            f"{folder} is a client's cache of blobs, not the server's blob directory; give the "
            "server's, or leave out shared_blob_dir"
        )
    if layout is None:
        raise ValueError(
            f"{folder} is not the server's blob directory ({_what_is(folder)}); with "
            "shared_blob_dir, blob_dir has to be the directory that the server uses, as this "
            "machine sees it"
        )
    return FilesystemHelper(folder)


def _what_is(folder: str) -> str:
    return f"no {LAYOUT_MARKER} file" if os.path.isdir(folder) else "no such directory"


def _check_cache(folder: str) -> None:
    layout = _layout(folder)
    if layout is None and os.path.isdir(folder):
        # Servers of long ago did not mark it.
        layout = next((f"of {name}" for name in os.listdir(folder) if name[:2] == "0x"), None)
    if layout not in (None, LAYOUT):
        raise ValueError(
            f"{folder} is a server's blob directory (layout {layout}), and a cache would ruin it; "
            "give the client a directory of its own, or shared_blob_dir to use the server's"
        )


def _layout(folder: str) -> str | None:
    try:
        with open(os.path.join(folder, LAYOUT_MARKER)) as marker:
            return marker.read().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _make(fshelper: FilesystemHelper, transfers: str) -> None:
    # Another process may do the same at the same time.
    for folder in (fshelper.base_dir, fshelper.temp_dir, transfers):
        os.makedirs(folder, exist_ok=True)
    marker = os.path.join(fshelper.base_dir, LAYOUT_MARKER)
    if not os.path.exists(marker):
        # Whoever reads it must not see it empty.
        descriptor, name = tempfile.mkstemp(dir=transfers)
        with open(descriptor, "w") as file:
            file.write(LAYOUT)
        os.chmod(name, 0o644)
        os.replace(name, marker)
    fshelper.create()
