"""Keeps a cache of blobs from growing for ever."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from ZODB.blob import BLOB_SUFFIX, remove_committed

from .blobcache import BlobCache, FileLock

__all__ = ["BlobCleaner"]

_log = logging.getLogger("zeotwisted.client")

#: How long (seconds) a file counts as in use after somebody has asked for its name. Whoever got the
#: name is about to open it.
_IN_USE = 5.0

#: Only one client cleans at a time. Another that wants to leaves a note that it has tried.
_LOCK = "check_size.lock"
_ATTEMPT = "check_size.attempt"


class _File(NamedTuple):
    used: float
    size: int
    path: str


class BlobCleaner:
    """Removes the files that were not used for the longest time, in a thread of its own.

    Nothing happens before `start`. A file that is open stays readable for whoever has opened it.

    :param limit: how large the whole may become, in bytes.
    :param check_percent: how much of that may be added before it is looked at again.
    :param in_use: how long (seconds) a file is spared after its last use.
    """

    def __init__(
        self, cache: BlobCache, limit: int, check_percent: int, in_use: float = _IN_USE
    ) -> None:
        self._cache = cache
        self._target = limit - limit * check_percent // 100
        # Something has to be added, or there would be no end of looking.
        self._step = max(limit - self._target, 1)
        self._in_use = in_use
        self._begin()

    def _begin(self) -> None:
        self._changed = threading.Condition()
        # Bytes that were added since the last look, by this process.
        self._added = 0
        self._closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Have a look now, and then whenever enough was added."""
        with self._changed:
            self._added = self._step
            self._wake()

    def added(self, size: int) -> None:
        """A file of `size` bytes has come into the cache. Does not wait for anything."""
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
        """Return when the thread has ended; it does so after the file that it is at."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def forked(self) -> None:
        """This is a child process, and the thread is the parent's."""
        self._begin()

    def _run(self) -> None:
        too_large = False
        while True:
            with self._changed:
                if too_large:
                    # Files that are in use now will not be so for long, nor will others clean.
                    self._changed.wait(self._in_use)
                while not (self._closed or too_large or self._added >= self._step):
                    self._changed.wait()
                if self._closed:
                    return
                self._added = 0
            try:
                too_large = self.clean()
            except OSError as error:
                _log.error("the blob cache %s cannot be cleaned: %s", self._cache.folder, error)
                too_large = False

    # In the thread.

    def clean(self) -> bool:
        """Remove what is too much; return whether there may still be too much."""
        attempt = os.path.join(self._cache.folder, _ATTEMPT)
        try:
            cleaning = FileLock(os.path.join(self._cache.folder, _LOCK))
        except BlockingIOError:
            # Whoever is at it will see the note, and have another look, unless it is closed before.
            with open(attempt, "w"):
                return True
        try:
            self._cache.remove_abandoned()
            self._remove_broken()
            while True:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(attempt)
                size = self._remove_oldest()
                if size > self._target:
                    return True
                if self._closed or not os.path.exists(attempt):
                    return False
        finally:
            cleaning.close()

    def _remove_broken(self) -> None:
        """Remove what one of ZEO's clients had not received when it was lost."""
        for path in self._paths(BLOB_SUFFIX + ".dl"):
            lock = self._cache.try_lock(path)
            if lock is not None:
                # Whoever receives has the lock.
                with contextlib.suppress(FileNotFoundError):
                    os.remove(path)
                self._cache.unlock(lock)

    def _remove_oldest(self) -> int:
        """Return the size that is left, in bytes."""
        files = sorted(self._files())
        size = sum(file.size for file in files)
        for file in files:
            if size <= self._target or self._closed:
                break
            if self._remove(file):
                size -= file.size
        return size

    def _remove(self, file: _File) -> bool:
        lock = self._cache.try_lock(file.path)
        if lock is None:
            # Somebody is about to bring or to use a file of this folder.
            return False
        try:
            # It may have been used since we looked.
            used = os.stat(file.path).st_atime
            if used != file.used or time.time() - used < self._in_use:
                return False
            remove_committed(file.path)
        except FileNotFoundError:
            pass
        finally:
            self._cache.unlock(lock)
        return True

    def _files(self) -> Iterator[_File]:
        for path in self._paths(BLOB_SUFFIX):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(path)
                yield _File(status.st_atime, status.st_size, path)

    def _paths(self, suffix: str) -> Iterator[str]:
        for folder in os.listdir(self._cache.folder):
            if folder.isdigit():
                path = os.path.join(self._cache.folder, folder)
                for name in os.listdir(path):
                    if name.endswith(suffix):
                        yield os.path.join(path, name)
