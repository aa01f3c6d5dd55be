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

#: How many attempts `Folder.use` makes, because the folder may be removed again before each one.
_TRIES = 5


class Folder:
    """A folder that is created again if it is missing.

    A new folder gets the permissions of the previous one. All methods may be called in any thread,
    and in several processes at the same time.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._mode: int | None = None

    def ensure(self) -> str:
        """Create the folder if it is missing, and return its path.

        :raises OSError: it cannot be created.
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
            # chmod fails if a process of another user has created the folder.
            with contextlib.suppress(OSError):
                os.chmod(self.path, self._mode)

    def use(self, use: Callable[[str], _T]) -> _T:
        """Call `use` with the path, and return its result.

        If `use` raises FileNotFoundError, the folder is created again and `use` is called again.

        :raises OSError: the folder cannot be created, or `use` raises it.
        """
        for _ in range(_TRIES - 1):
            with contextlib.suppress(FileNotFoundError):
                return use(self.ensure())
        return use(self.ensure())


_known: dict[str, Folder] = {}


def known_folder(path: str) -> Folder:
    """Return the `Folder` for a path.

    A process has only one for each path, so that it remembers the permissions.
    """
    return _known.setdefault(path, Folder(path))
