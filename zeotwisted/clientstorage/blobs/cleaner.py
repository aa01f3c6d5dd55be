"""Bounds the size of a blob cache."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

from ZODB.blob import BLOB_SUFFIX, remove_committed

from .cache import IN_USE, BlobCache, FileLock

__all__ = ["BlobCleaner"]

_log = logging.getLogger("zeotwisted.client")

#: Only one client cleans at a time. Another client that tries creates `_ATTEMPT`, and the first
#: one checks the size again.
_LOCK = "check_size.lock"
_ATTEMPT = "check_size.attempt"

#: How long (seconds) `close` may take, and the pause between its attempts to get the lock.
_AT_END = 5.0
_PAUSE = 0.01


class _File(NamedTuple):
    #: The time of its last use, in nanoseconds.
    used: int
    size: int
    path: str


class _Removal(Enum):
    """The result of an attempt to remove a file."""

    GONE = "gone"
    LATER = "in use"
    NEVER = "not ours to remove"


class BlobCleaner:
    """Removes the files that were not used for the longest time, in a thread of its own.

    It begins with `start`. A process that has a removed file open can still read it.

    A file is kept for some seconds after its last use, because a client may be about to open it.
    There are two exceptions. When a client is closed, the files that it has used last are not kept:
    otherwise many short-lived clients would exceed the limit. And if no other client has the folder
    open, uses by other clients do not count.

    :param limit: how large the folder may become, in bytes.
    :param check_percent: how many percent of that may be added before the size is checked again.
    :param in_use: how long (seconds) a file is kept after its last use.
    """

    def __init__(
        self, cache: BlobCache, limit: int, check_percent: int, in_use: float = IN_USE
    ) -> None:
        self._cache = cache
        self._target = limit - limit * check_percent // 100
        # At least 1: with 0, the thread would check the size in an endless loop.
        self._step = max(limit - self._target, 1)
        self._in_use = in_use
        self._complained = False
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        # Bytes that this process has added since the last check.
        self._added = 0
        self._closed = False
        # Whether the folder may be too large although nothing was added.
        self._unfinished = False
        # The last time when this was the only client, in nanoseconds.
        self._alone_at = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Check the size now, and whenever enough bytes were added."""
        with self._changed:
            self._added = self._step
            self._unfinished = True
            self._wake()
        # For programs that end without closing their storages.
        atexit.register(self.close)

    def added(self, size: int) -> None:
        """Count a file of `size` bytes that was added to the cache. It does not block."""
        with self._changed:
            self._added += size
            if self._added >= self._step:
                self._wake()

    def _wake(self) -> None:
        if self._closed:
            return
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="zeotwisted blob cleaner", daemon=True
            )
            self._thread.start()
        self._changed.notify()

    def close(self) -> None:
        """End the thread, and remove files once more; that takes some seconds at most."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify()
            thread = self._thread
        atexit.unregister(self.close)
        if thread is not None:
            # It ends after the current file.
            thread.join()
        if self._unfinished or self._added:
            try:
                self._clean_at_end()
            except OSError as error:
                self._complain(error)

    def forked(self) -> None:
        """After fork: begin again; the thread does not exist in the child."""
        self._begin()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._unfinished and not (self._added or self._closed):
                    # By then the files in use can be removed, and another client has finished.
                    self._changed.wait(self._in_use)
                while not (self._closed or self._unfinished or self._added >= self._step):
                    self._changed.wait()
                if self._closed:
                    return
                self._added = 0
            try:
                self._unfinished = self.clean()
            except OSError as error:
                self._complain(error)
                self._unfinished = False

    def _complain(self, error: OSError) -> None:
        _log.error("the blob cache %s cannot be cleaned: %s", self._cache.folder, error)

    def clean(self) -> bool:
        """Remove files above the limit; return whether the folder may still be too large."""
        self._cache.restore()
        attempt = os.path.join(self._cache.folder, _ATTEMPT)
        cleaning = self._try_lock()
        if cleaning is None:
            # The process that cleans sees this file and checks again, unless it is closed before.
            with open(attempt, "w"):
                return True
        try:
            self._cache.remove_abandoned()
            self._remove_broken()
            while True:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(attempt)
                if self._remove_oldest(self._is_spared, lambda: self._closed):
                    return True
                if self._closed or not os.path.exists(attempt):
                    return False
        finally:
            cleaning.close()

    def _clean_at_end(self) -> None:
        deadline = time.monotonic() + _AT_END
        while (cleaning := self._try_lock()) is None:
            if time.monotonic() > deadline:
                return
            time.sleep(_PAUSE)
        try:
            self._remove_oldest(self._is_spared_at_end, lambda: time.monotonic() > deadline)
        finally:
            cleaning.close()

    def _try_lock(self) -> FileLock | None:
        with contextlib.suppress(BlockingIOError):
            return FileLock(os.path.join(self._cache.folder, _LOCK))
        return None

    def _is_spared(self, file: _File) -> bool:
        own = self._cache.is_own_use(file.path, file.used)
        return self._is_recent(file) and (own or file.used > self._alone_at)

    def _is_spared_at_end(self, file: _File) -> bool:
        own = self._cache.is_own_use(file.path, file.used)
        return self._is_recent(file) and not own and file.used > self._alone_at

    def _is_recent(self, file: _File) -> bool:
        return time.time_ns() - file.used < self._in_use * 1e9

    def _remove_broken(self) -> None:
        """Remove incomplete downloads of ZEO's clients that have ended."""
        for path in self._paths(BLOB_SUFFIX + ".dl"):
            with contextlib.suppress(FileNotFoundError):
                lock = self._cache.try_lock(path)
                if lock is not None:
                    # The lock was free, so no client is downloading this file.
                    with contextlib.suppress(FileNotFoundError):
                        os.remove(path)
                    self._cache.unlock(lock)

    def _remove_oldest(
        self, is_spared: Callable[[_File], bool], is_over: Callable[[], bool]
    ) -> int:
        """Remove the oldest files; return how many bytes above the limit could be removed later.

        :param is_over: returns whether to stop early.
        """
        if self._cache.is_alone():
            self._alone_at = time.time_ns()
        files = sorted(self._files())
        excess = sum(file.size for file in files) - self._target
        hopeless = 0
        for file in files:
            if excess <= 0 or is_over():
                break
            removal = self._remove(file, is_spared)
            if removal is _Removal.GONE:
                excess -= file.size
            elif removal is _Removal.NEVER:
                hopeless += file.size
        return max(excess - hopeless, 0)

    def _remove(self, file: _File, is_spared: Callable[[_File], bool]) -> _Removal:
        try:
            lock = self._cache.try_lock(file.path)
        except OSError as error:
            return self._not_removed(error)
        if lock is None:
            # Another thread or process is downloading a file into the same folder.
            return _Removal.LATER
        try:
            # It may have been used since `_files` read its access time.
            if os.stat(file.path).st_atime_ns != file.used or is_spared(file):
                return _Removal.LATER
            remove_committed(file.path)
        except OSError as error:
            return self._not_removed(error)
        finally:
            self._cache.unlock(lock)
        return _Removal.GONE

    def _not_removed(self, error: OSError) -> _Removal:
        if isinstance(error, FileNotFoundError):
            return _Removal.GONE
        # It belongs to another user. Go on with the other files, and log this only once.
        if not self._complained:
            self._complained = True
            _log.warning("a file in the blob cache cannot be removed: %s", error)
        return _Removal.NEVER

    def _files(self) -> Iterator[_File]:
        for path in self._paths(BLOB_SUFFIX):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                yield _File(status.st_atime_ns, status.st_size, path)

    def _paths(self, suffix: str) -> Iterator[str]:
        for folder in os.listdir(self._cache.folder):
            if folder.isdigit():
                path = os.path.join(self._cache.folder, folder)
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    for name in os.listdir(path):
                        if name.endswith(suffix):
                            yield os.path.join(path, name)
