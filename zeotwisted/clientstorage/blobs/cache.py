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
from zeotwisted.files import Folder

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

#: Where files are that are not complete, or not committed.
TRANSFERS = "transfers"

#: The permissions to read.
_READERS = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH

_T = TypeVar("_T")

_LOCK = ".lock"

#: Locked by all clients that have the folder open, together.
_CLIENTS = "clients.lock"

#: How long (seconds) a file counts as in use after somebody has asked for its name: the caller is
#: about to open it.
IN_USE = 5.0

#: How often a folder may vanish while it is used.
_TRIES = 5

#: How old (seconds) transfers without a lock have to be before they are removed.
_ABANDONED_AFTER = 86400.0

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
    """A lock on a file, which ends with the process at the latest.

    :param create: make the file if it is not there.
    :param shared: others may have the lock, too, unless they want it for themselves.
    :raises BlockingIOError: somebody else has it.
    :raises FileNotFoundError: the file is not there, or its folder is not.
    """

    def __init__(self, path: str, create: bool = True, shared: bool = False) -> None:
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._descriptor = os.open(path, flags, 0o666)
        try:
            if shared:
                # Nobody has it alone for longer than `is_the_only_one` takes.
                fcntl.flock(self._descriptor, fcntl.LOCK_SH)
            else:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._descriptor)
            raise

    def is_at(self, path: str) -> bool:
        """Return whether others find this lock there: the file may have been removed."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._descriptor))
        except OSError:
            return False

    def is_the_only_one(self) -> bool:
        """Return whether nobody shares a shared lock."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            alone = False
        else:
            alone = True
        # To ask may have cost the lock.
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        return alone

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
        self._base = Folder(self.folder)
        self._temporary = Folder(str(self.fshelper.temp_dir))
        self._transfers = Folder(os.path.join(self.folder, TRANSFERS))
        self._uses = OwnUses(IN_USE)
        self._closing = threading.Event()
        # In a child process these are the parent's.
        self._locks: set[FileLock] = set()
        self._making = threading.Lock()
        # This process's own folders of transfers, the last of which is in use, and the locks that
        # say that it is alive.
        self._own: dict[str, FileLock] = {}
        self.restore()
        self._present = self._appear()
        self.remove_abandoned()

    def restore(self) -> None:
        """Make the folder, and what belongs to it, where it is not there any more.

        :raises OSError: that is not possible.
        """
        self._base.ensure()
        self._temporary.ensure()
        # Another process may do the same at the same time.
        self._transfers.use(lambda transfers: _mark(self.folder, transfers))

    def temporary_directory(self) -> str:
        """Return where blobs may be written before they are stored."""
        return self._temporary.ensure()

    # Which processes use the folder.

    def _appear(self) -> FileLock:
        return self._base.use(lambda folder: FileLock(os.path.join(folder, _CLIENTS), shared=True))

    def is_alone(self) -> bool:
        """Return whether nobody else has this folder open. ZEO's clients are not seen."""
        present = self._present
        return present.is_at(os.path.join(self.folder, _CLIENTS)) and present.is_the_only_one()

    def path(self, oid: bytes, tid: bytes) -> str:
        """Return where a blob is, or would be."""
        return str(self.fshelper.getBlobFilename(oid, tid))

    def use(self, path: str) -> bool:
        """Return whether the file is there. If so, it is in use from now on."""
        now = time.time_ns()
        # First: a use that is to be seen, and not known as ours, would not spare the file.
        self._uses.note(path, now)
        try:
            os.utime(path, ns=(now, os.stat(path).st_mtime_ns))
        except FileNotFoundError:
            return False
        except OSError:
            # It belongs to another user.
            return os.path.exists(path)
        return True

    def is_own_use(self, path: str, used: int) -> bool:
        """Return whether it was this client that used the file at that time (nanoseconds)."""
        return self._uses.is_last(path, used)

    def put(self, filename: str, path: str) -> None:
        """Move a complete file to its place. It is in use from now on.

        :raises FileNotFoundError: there is no such file.
        """
        # All of this before it can be found there, and be removed as one that nobody uses. It may
        # have been written long ago.
        now = time.time_ns()
        self._uses.note(path, now)
        os.utime(filename, ns=(now, os.stat(filename).st_mtime_ns))
        self._protect(filename)
        _again(lambda: os.replace(filename, path), lambda: self._make_for(path))

    def _protect(self, filename: str) -> None:
        """Let nobody write the file, and let those read it that may read the cache's folder: other
        clients that use the folder may belong to other users.
        """
        readers: int = stat.S_IRUSR
        # Without the folder, the file cannot be put anywhere before that is made again.
        with contextlib.suppress(FileNotFoundError):
            readers |= os.stat(self.folder).st_mode & _READERS
        os.chmod(filename, readers)

    def _make_for(self, path: str) -> None:
        """Make the folder in which `path` is."""
        if not os.path.isdir(self.folder):
            self.restore()
        self._base.use(lambda _: os.makedirs(os.path.dirname(path), exist_ok=True))

    # Locks.

    def lock(self, path: str, timeout: float = _LOCK_TIMEOUT) -> FileLock:
        """Return the lock that is needed to make or remove the file `path`.

        :param timeout: how long (seconds) to wait while another process has it.
        :raises ClientStorageError: it was not to be had in that time.
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
        """Return the lock for the file `path`, or None if somebody else has it.

        :raises FileNotFoundError: the file's folder is not there.
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
        """Let go of a lock."""
        self._locks.discard(lock)
        lock.close()

    # Transfers.

    def partial(self) -> tuple[int, str]:
        """Return the descriptor and the name of a new file, in this process's own folder."""
        return _again(lambda: tempfile.mkstemp(dir=self._own_folder()))

    def take(self, filename: str) -> str:
        """Move a file to this process's own folder; return its new name.

        :raises FileNotFoundError: there is no such file.
        """
        return _again(lambda: self._take(filename), lambda: os.stat(filename))

    def _take(self, filename: str) -> str:
        descriptor, name = self.partial()
        os.close(descriptor)
        os.remove(name)
        # If there is no room for a copy it is better to know it now than when all is committed.
        rename_or_copy_blob(filename, name)
        return name

    def _own_folder(self) -> str:
        with self._making:
            if self._closing.is_set():
                raise ClientDisconnected("the storage is closed")
            own = next(reversed(self._own), "")
            # Without its lock, others would think that the folder has been abandoned.
            if not (own and os.path.isdir(own) and self._own[own].is_at(own + _LOCK)):
                own = self._transfers.use(self._make_own_folder)
            return own

    def _make_own_folder(self, transfers: str) -> str:
        if not os.path.exists(os.path.join(self.folder, LAYOUT_MARKER)):
            self.restore()
        # Nobody may think that the folder has been abandoned before it is locked.
        making = self.lock(os.path.join(transfers, "any"))
        try:
            own = tempfile.mkdtemp(dir=transfers)
            self._own[own] = FileLock(own + _LOCK)
        finally:
            self.unlock(making)
        return own

    def remove_abandoned(self) -> None:
        """Remove what processes have left behind that do not live any more."""
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
        """Give up what is not complete, and end all waiting for locks."""
        self._closing.set()
        with self._making:
            own, self._own = self._own, {}
            for folder, alive in own.items():
                shutil.rmtree(folder, ignore_errors=True)
                with contextlib.suppress(FileNotFoundError):
                    os.remove(folder + _LOCK)
                alive.close()
        self._present.close()

    def forked(self) -> None:
        """This is a child process: locks and transfers are the parent's."""
        self._making = threading.Lock()
        self._closing = threading.Event()
        self._uses = OwnUses(IN_USE)
        locks, self._locks = self._locks, set()
        own, self._own = self._own, {}
        for lock in (*locks, *own.values(), self._present):
            lock.close()
        self._present = self._appear()


def _again(attempt: Callable[[], _T], prepare: Callable[[], Any] = lambda: None) -> _T:
    """Return what `attempt` returns, even if somebody removes the folder that it needs meanwhile.

    :param prepare: called before the next attempt.
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
        # Its lock was removed, perhaps while its process lives.
        if time.time() - os.stat(folder).st_mtime > _ABANDONED_AFTER:
            shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        _log.info("removing %s, which a lost process has left behind", folder)
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.remove(folder + _LOCK)
    finally:
        abandoned.close()


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


def _mark(folder: str, transfers: str) -> None:
    """Write down what the folder is, unless somebody has done so."""
    marker = os.path.join(folder, LAYOUT_MARKER)
    if os.path.exists(marker):
        return
    # Nobody may see it empty.
    descriptor, name = tempfile.mkstemp(dir=transfers)
    with open(descriptor, "w") as file:
        file.write(LAYOUT)
    os.chmod(name, 0o644)
    os.replace(name, marker)
