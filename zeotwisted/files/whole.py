"""Replaces a file as a whole."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress

__all__ = ["replace_file"]


def replace_file(path: str, content: bytes, mode: int) -> None:
    """Replace a file, or make it. Readers find the old content or the new one, nothing between.

    An existing file keeps its owner and its group: root may write what a daemon reads as another
    user. While it is written, nobody but its owner can read it.

    :param mode: the permissions.
    :raises OSError: the file cannot be written. The old one is unchanged.
    """
    folder = os.path.dirname(os.path.abspath(path))
    # mkstemp makes a file with mode 600.
    handle, name = tempfile.mkstemp(prefix=".new-", dir=folder)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _keep_owner(path, name)
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.remove(name)
        raise


def _keep_owner(path: str, new: str) -> None:
    """Give the owner of an existing file to its replacement.

    :raises PermissionError: only root can do that.
    """
    with suppress(FileNotFoundError):
        old = os.stat(path)
        if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(new, old.st_uid, old.st_gid)
