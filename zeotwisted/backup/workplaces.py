"""Folders for what is of use for a moment only. If a process is killed, the next one removes its.

A file in the folder is locked as long as its process lives. Only folders that have this file, and
whose file nobody has locked, are removed.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from zc.lockfile import LockError, SimpleLockFile

from .errors import BackupError
from .names import UNFINISHED

__all__ = ["workplace"]

_PREFIX = f"{UNFINISHED}zeotwisted-"
#: What `tempfile` puts behind the prefix.
_NAME = re.compile(re.escape(_PREFIX) + "[a-z0-9_]{8}")
_LOCK = ".zeotwisted-lock"

#: How often to begin again when another process takes a new folder for one that was left.
_TRIES = 20


@contextmanager
def workplace(parent: str) -> Iterator[str]:
    """Make a folder, and remove it at the end. Remove what killed processes have left beside it.

    :raises BackupError: it cannot be locked.
    """
    _remove_left(parent)
    folder, lock = _made(parent)
    try:
        yield folder
    finally:
        _remove(folder)
        lock.close()


def _made(parent: str) -> tuple[str, SimpleLockFile]:
    for _ in range(_TRIES):
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        path = os.path.join(folder, _LOCK)
        try:
            lock = SimpleLockFile(path)
        except (LockError, FileNotFoundError):
            _remove(folder)
            continue
        except BaseException:
            _remove(folder)
            raise
        if os.path.exists(path):
            return folder, lock
        lock.close()
    raise BackupError(f"no file can be locked in {parent}; choose a folder on another file system")


def _remove_left(parent: str) -> None:
    # What cannot be removed takes room, and is no reason to fail.
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if _NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                _remove_if_left(entry.path)


def _remove_if_left(folder: str) -> None:
    """Remove a folder if it is ours, and its process has ended."""
    with suppress(OSError, LockError):
        if os.lstat(folder).st_uid != os.geteuid():
            return
        if not os.listdir(folder):
            os.rmdir(folder)
            return
        path = os.path.join(folder, _LOCK)
        if os.path.islink(path) or not os.path.isfile(path):
            return
        lock = SimpleLockFile(path)
        try:
            _remove(folder)
        finally:
            lock.close()


def _remove(folder: str) -> None:
    """Remove a folder. What cannot be removed now can be later, as the lock goes last."""
    with suppress(OSError):
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                elif entry.name != _LOCK:
                    os.remove(entry.path)
        if os.listdir(folder) == [_LOCK]:
            os.remove(os.path.join(folder, _LOCK))
        os.rmdir(folder)
