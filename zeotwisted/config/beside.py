"""Warns when a process uses ZEO's client although a configuration imports zeotwisted.

``%import zeotwisted`` does not change the section ``<zeoclient>``. ZODB defines that section, and
it opens ZEO's client. So a configuration that still has this section works, but uses ZEO.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["watch"]

_log = logging.getLogger("zeotwisted.config")

#: The module that ZODB imports when it opens a <zeoclient>, and not earlier.
_THEIRS = "ZEO.ClientStorage"

_REMEDY = "for a section <zeoclient>, write <zeotwisted> and </zeotwisted>"


class _Watch(MetaPathFinder):
    """A finder of modules that finds none. It logs a warning when ZEO's client is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if name == _THEIRS and self in sys.meta_path:
            sys.meta_path.remove(self)
            _log.warning(
                "ZEO's client is about to be used, although a configuration imports zeotwisted; %s",
                _REMEDY,
            )
        return None


_watch = _Watch()


def watch() -> None:
    """Log a message when ZEO's client is imported, or now if it is already imported.

    It is called when a configuration imports zeotwisted.
    """
    if _THEIRS in sys.modules:
        _log.info("ZEO's client is loaded in this process, too; %s", _REMEDY)
    elif _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)
