"""Replaces files as a whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress

from .removal import remove_file

__all__ = ["replace_file", "replace_files"]


def replace_file(path: str, content: bytes, mode: int) -> None:
    """Replace a file, or make it. Readers find the old content or the new one, nothing between.

    An existing file keeps its owner and its group: root may write what a daemon reads as another
    user. While it is written, nobody but its owner can read it.

    :param mode: the permissions.
    :raises OSError: the file cannot be written. The old one is unchanged.
    """
    replace_files({path: (content, mode)})


def replace_files(files: Mapping[str, tuple[bytes, int]]) -> None:
    """Do what `replace_file` does for files that belong together.

    All are written before the first one gets its name, because a full disk shows then.

    :param files: contents and permissions, by path.
    :raises OSError: a file cannot be written. The old ones are unchanged, and there are no new
        ones. (Only if one cannot be renamed after that, old ones before it are replaced.)
    """
    names: dict[str, str] = {}
    made = []
    try:
        for path, (content, mode) in files.items():
            handle, names[path] = tempfile.mkstemp(prefix=".new-", dir=_folder(path))
            _write(handle, names[path], path, content, mode)
        for path, name in names.items():
            is_new = not os.path.lexists(path)
            os.replace(name, path)
            if is_new:
                made.append(path)
    except BaseException:
        # If this fails, too, the first error is raised all the same.
        for left_over in (*names.values(), *made):
            remove_file(left_over)
        raise


def _folder(path: str) -> str:
    return os.path.dirname(os.path.abspath(path))


def _write(handle: int, name: str, path: str, content: bytes, mode: int) -> None:
    # mkstemp has made the file with mode 600.
    with open(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    _keep_owner(path, name)
    os.chmod(name, mode)


def _keep_owner(path: str, new: str) -> None:
    """Give the owner of an existing file to its replacement.

    :raises PermissionError: only root can do that.
    """
    with suppress(FileNotFoundError):
        old = os.stat(path)
        if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(new, old.st_uid, old.st_gid)
