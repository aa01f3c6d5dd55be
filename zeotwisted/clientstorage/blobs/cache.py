"""The cache folder for a client's blobs, which other processes may use, too.

Names, layout and locks are those of ZEO's clients, so that both may use the same folder. Incomplete
files are in `TRANSFERS`. Each process has its own folder there, with a lock. If the lock is free,
the process has ended, and another process removes its folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ZODB.blob import (
    BLOB_SUFFIX,
    LAYOUT_MARKER,
    LAYOUTS,
    FilesystemHelper,
    rename_or_copy_blob,
)
from ZODB.utils import u64

from zeotwisted.exceptions import ClientDisconnected, ClientStorageError
from zeotwisted.files import Folder, remove_file, replace_file

from .uses import OwnUses

__all__ = [
    "IN_USE",
    "LAYOUT",
    "TRANSFERS",
    "BlobCache",
    "BlobCacheLayout",
    "FileLock",
    "shared_folder",
]

_log = logging.getLogger("zeotwisted.client")

#: The name of the layout, which marks a folder as a client's.
LAYOUT = "zeocache"

#: The folder for files that are not complete, or not committed.
TRANSFERS = "transfers"

#: All permissions to read.
_READERS = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH

_T = TypeVar("_T")

_LOCK = ".lock"

#: All clients that have the folder open share the lock of this file.
_CLIENTS = "clients.lock"

#: How long (seconds) a file counts as in use after `BlobCache.use`: the caller is about to open it.
IN_USE = 5.0

#: How often to try when another process removes a folder meanwhile.
_TRIES = 5

#: How old (seconds) transfers without a lock have to be before they are removed.
_ABANDONED_AFTER = 86400.0

#: How long (seconds) to wait for a lock that another process has; the first and the longest pause
#: between two attempts.
_LOCK_TIMEOUT = 600.0
_FIRST_LOOK = 0.001
_LAST_LOOK = 0.05


class BlobCacheLayout:
    """The layout of the cache folder, as ZEO's clients have it."""

    #: The number of subfolders for blobs.
    size = 997

    def oid_to_path(self, oid: bytes) -> str:
        """Return the folder of an object's blobs, relative to the cache folder."""
        return str(u64(oid) % self.size)

    def path_to_oid(self, path: str) -> bytes:
        """Raise ValueError: a folder holds the blobs of many objects."""
        raise ValueError(f"{path!r} is not the folder of one object")

    def getBlobFilePath(self, oid: bytes, tid: bytes) -> str:
        """Return the name of a blob's file, relative to the cache folder."""
        base, folder = divmod(u64(oid), self.size)
        return os.path.join(str(folder), f"{base}.{tid.hex()}{BLOB_SUFFIX}")


class FileLock:
    """A lock on a file. The system releases it when the process ends.

    :param create: create the file if it does not exist.
    :param shared: lock the file with other shared locks.
    :raises BlockingIOError: another process or object has the lock.
    :raises FileNotFoundError: the file, or its folder, does not exist.
    """

    def __init__(self, path: str, create: bool = True, shared: bool = False) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._descriptor = os.open(path, flags, 0o666)
        try:
            if shared:
                # This may block, but not for long: only `is_the_only_one` takes it exclusively.
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            else:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._descriptor)
            raise

    def is_at(self, path: str) -> bool:
        """Return whether the locked file is still at `path`. If not, others do not see the lock."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._descriptor))
        except OSError:
            return False

    def is_the_only_one(self) -> bool:
        """Return whether this is the only shared lock of the file."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            alone = False
        else:
            alone = True
        # A failed attempt to get the exclusive lock may release the shared one.
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        return alone

    def close(self) -> None:
        """Release the lock. In a child process, close the copy; the parent keeps the lock."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class BlobCache:
    """A cache folder for blobs. All methods may be called in any thread.

    :param folder: is created if it does not exist.
    :raises ValueError: the folder is a server's blob directory.
    """

    def __init__(self, folder: str) -> None:
        _check_cache(folder)
        LAYOUTS.setdefault(LAYOUT, BlobCacheLayout())
        self.fshelper = FilesystemHelper(folder, LAYOUT)
        self.folder = os.path.abspath(folder)
        self._base = Folder(self.folder)
        self._temporary = Folder(str(self.fshelper.temp_dir))
        self._transfers = Folder(os.path.join(self.folder, TRANSFERS))
        self._uses = OwnUses(IN_USE)
        self._closing = threading.Event()
        # Kept so that a child process can close its copies.
        self._locks: set[FileLock] = set()
        self._making = threading.Lock()
        # This process's own folders for transfers, with their locks. The last one is in use.
        self._own: dict[str, FileLock] = {}
        self.restore()
        self._present = self._appear()
        try:
            self.remove_abandoned()
        except BaseException:
            self._present.close()
            raise

    def restore(self) -> None:
        """Create the folder, and its parts, if they do not exist.

        :raises OSError: that is not possible.
        """
        self._base.ensure()
        self._temporary.ensure()
        # `use` creates the folder again if another process removes it meanwhile.
        self._transfers.use(lambda _: _mark(self.folder))

    def temporary_directory(self) -> str:
        """Return the folder in which an application may write blobs before they are stored."""
        return self._temporary.ensure()

    # Which processes use the folder.

    def _appear(self) -> FileLock:
        return self._base.use(lambda folder: FileLock(os.path.join(folder, _CLIENTS), shared=True))

    def is_alone(self) -> bool:
        """Return whether no other client has this folder open. It cannot detect ZEO's clients."""
        present = self._present
        return present.is_at(os.path.join(self.folder, _CLIENTS)) and present.is_the_only_one()

    def path(self, oid: bytes, tid: bytes) -> str:
        """Return the name of a blob's file. The file need not exist."""
        return str(self.fshelper.getBlobFilename(oid, tid))

    def use(self, path: str) -> bool:
        """Return whether the file exists. If so, it counts as in use from now on."""
        now = time.time_ns()
        # Before the access time changes: otherwise the cleaner may see the new time, take it for
        # another client's use, and remove the file.
        self._uses.note(path, now)
        try:
            os.utime(path, ns=(now, os.stat(path).st_mtime_ns))
        except FileNotFoundError:
            return False
        except OSError:
            # The file belongs to another user.
            return os.path.exists(path)
        return True

    def is_own_use(self, path: str, used: int) -> bool:
        """Return whether this client used the file at the time `used` (nanoseconds), or later."""
        return self._uses.is_last(path, used)

    def put(self, filename: str, path: str) -> None:
        """Move a complete file to its place. It counts as in use from now on.

        :raises FileNotFoundError: `filename` does not exist.
        """
        # Before the move: the file may be old, and a cleaner could remove it at once as unused.
        now = time.time_ns()
        self._uses.note(path, now)
        os.utime(filename, ns=(now, os.stat(filename).st_mtime_ns))
        self._protect(filename)
        _again(lambda: os.replace(filename, path), lambda: self._make_for(path))

    def _protect(self, filename: str) -> None:
        """Make the file read-only, for the users that may read the cache folder.

        Other clients that use the folder may belong to other users.
        """
        readers: int = stat.S_IRUSR
        # FileNotFoundError: the folder was removed; `put` creates it again.
        with contextlib.suppress(FileNotFoundError):
            readers |= os.stat(self.folder).st_mode & _READERS
        os.chmod(filename, readers)

    def _make_for(self, path: str) -> None:
        """Create the folder in which `path` is."""
        if not os.path.isdir(self.folder):
            self.restore()
        self._base.use(lambda _: os.makedirs(os.path.dirname(path), exist_ok=True))

    # Locks.

    def lock(self, path: str, timeout: float = _LOCK_TIMEOUT) -> FileLock:
        """Return the lock that is necessary to create or remove the file `path`.

        :param timeout: how long (seconds) to wait while another process has it.
        :raises ClientStorageError: the lock was not free in time.
        :raises ClientDisconnected: the storage was closed.
        """
        name = os.path.join(os.path.dirname(path), _LOCK)
        deadline = time.monotonic() + timeout
        pause = _FIRST_LOOK
        while (lock := _again(lambda: self._try_lock(name), lambda: self._make_for(path))) is None:
            if time.monotonic() > deadline:
                raise ClientStorageError(
                    f"{name} has been locked by another process for {timeout:g} seconds"
                )
            if self._closing.wait(pause):
                raise ClientDisconnected("the storage is closed")
            pause = min(2 * pause, _LAST_LOOK)
        return lock

    def try_lock(self, path: str) -> FileLock | None:
        """Return the lock for the file `path`, or None if another thread or process has it.

        :raises FileNotFoundError: the file's folder does not exist.
        """
        return self._try_lock(os.path.join(os.path.dirname(path), _LOCK))

    def _try_lock(self, name: str) -> FileLock | None:
        try:
            lock = FileLock(name)
        except BlockingIOError:
            return None
        self._locks.add(lock)
        return lock

    def unlock(self, lock: FileLock) -> None:
        """Release a lock."""
        self._locks.discard(lock)
        lock.close()

    # Transfers.

    def partial(self) -> tuple[int, str]:
        """Return the descriptor and the name of a new file, in this process's own folder."""
        return _again(lambda: tempfile.mkstemp(dir=self._own_folder()))

    def take(self, filename: str) -> str:
        """Move a file to this process's own folder; return its new name.

        :raises FileNotFoundError: `filename` does not exist.
        """
        return _again(lambda: self._take(filename), lambda: os.stat(filename))

    def _take(self, filename: str) -> str:
        descriptor, name = self.partial()
        os.close(descriptor)
        os.remove(name)
        # On another file system this copies. If the disk is full, it fails before the commit.
        rename_or_copy_blob(filename, name)
        return name

    def _own_folder(self) -> str:
        with self._making:
            if self._closing.is_set():
                raise ClientDisconnected("the storage is closed")
            own = next(reversed(self._own), "")
            # Without its lock, another process would remove the folder as abandoned.
            if not (own and os.path.isdir(own) and self._own[own].is_at(own + _LOCK)):
                own = self._transfers.use(self._make_own_folder)
            return own

    def _make_own_folder(self, transfers: str) -> str:
        if not os.path.exists(os.path.join(self.folder, LAYOUT_MARKER)):
            self.restore()
        # `remove_abandoned` needs this lock, so it does not see the folder before its own lock.
        making = self.lock(os.path.join(transfers, "any"))
        try:
            own = tempfile.mkdtemp(dir=transfers)
            self._own[own] = FileLock(own + _LOCK)
        finally:
            self.unlock(making)
        return own

    def remove_abandoned(self) -> None:
        """Remove the transfers of processes that have ended."""
        with contextlib.suppress(FileNotFoundError):
            cleaning = self.try_lock(os.path.join(self._transfers.path, "any"))
            if cleaning is None:
                return
            try:
                for entry in list(os.scandir(self._transfers.path)):
                    if entry.is_dir():
                        _remove_if_abandoned(entry.path)
            finally:
                self.unlock(cleaning)

    # The end.

    def close(self) -> None:
        """Remove incomplete files; `lock` raises `ClientDisconnected` in threads that wait."""
        self._closing.set()
        with self._making:
            own, self._own = self._own, {}
            for folder, alive in own.items():
                shutil.rmtree(folder, ignore_errors=True)
                remove_file(folder + _LOCK)
                alive.close()
        self._present.close()

    def forked(self) -> None:
        """After fork: close the copies of the parent's locks; its transfers stay."""
        self._making = threading.Lock()
        self._closing = threading.Event()
        self._uses = OwnUses(IN_USE)
        locks, self._locks = self._locks, set()
        own, self._own = self._own, {}
        for lock in (*locks, *own.values(), self._present):
            lock.close()
        self._present = self._appear()


def _again(attempt: Callable[[], _T], prepare: Callable[[], Any] = lambda: None) -> _T:
    """Return what `attempt` returns; repeat it if another process has removed its folder.

    :param prepare: is called before the next attempt.
    """
    for _ in range(_TRIES - 1):
        with contextlib.suppress(FileNotFoundError):
            return attempt()
        prepare()
    return attempt()


def _remove_if_abandoned(folder: str) -> None:
    try:
        abandoned = FileLock(folder + _LOCK, create=False)
    except BlockingIOError:
        return
    except FileNotFoundError:
        # The lock file was removed. The process may still run, so the folder must be old.
        if time.time() - os.stat(folder).st_mtime > _ABANDONED_AFTER:
            shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        _log.info("removing %s, which a lost process has left behind", folder)
        shutil.rmtree(folder, ignore_errors=True)
        remove_file(folder + _LOCK)
    finally:
        abandoned.close()


def shared_folder(folder: str) -> FilesystemHelper:
    """Return ZODB's helper for the server's blob directory.

    :raises ValueError: it is not a server's blob directory.
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
        # Old servers did not write the marker.
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


def _mark(folder: str) -> None:
    """Write the layout marker, if there is none."""
    marker = os.path.join(folder, LAYOUT_MARKER)
    if os.path.exists(marker):
        return
    # As a whole: no other process may read an empty marker.
    replace_file(marker, LAYOUT.encode("ascii"), 0o644)
