"""Folders that another process may remove at any time, such as a cleaner of temporary files."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Folder", "known_folder"]

_log = logging.getLogger("zeotwisted")

_T = TypeVar("_T")

#: How many attempts `Folder.use` makes, as the folder may be removed before each use.
_TRIES = 5


class Folder:
    """A folder that is made again if it is missing when it is needed.

    It gets the permissions that it had when it was last seen. All methods may be called in any
    thread, and in several processes at a time.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._mode: int | None = None

    def ensure(self) -> str:
        """Return the path of the folder, which exists now.

        :raises OSError: it cannot be made.
        """
        try:
            self._mode = stat.S_IMODE(os.stat(self.path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            self._make()
        return self.path

    def _make(self) -> None:
        try:
            os.makedirs(self.path, exist_ok=True)
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror}: the folder is not there and cannot be made; make it, and let "
                "this process write to it",
                self.path,
            ) from error
        if self._mode is not None:
            _log.warning("%s was removed; it is made again", self.path)
            # Another process, of another user, may have made it.
            with contextlib.suppress(OSError):
                os.chmod(self.path, self._mode)

    def use(self, use: Callable[[str], _T]) -> _T:
        """Return what `use` returns. It is called with the path, again if the folder is gone.

        :raises OSError: the folder cannot be made, or `use` raises it.
        """
        for _ in range(_TRIES - 1):
            with contextlib.suppress(FileNotFoundError):
                return use(self.ensure())
        return use(self.ensure())


_known: dict[str, Folder] = {}


def known_folder(path: str) -> Folder:
    """Return the one `Folder` of this process for a path, which has seen its permissions."""
    return _known.setdefault(path, Folder(path))
