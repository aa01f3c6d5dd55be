"""Notice that ZEO's client is about to be used beside ours.

``%import zeotwisted`` does not change what ``<zeoclient>`` means: ZODB defines that section, and it
opens ZEO's client. A configuration in which the section was left as it was works, with ZEO.
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

#: The module that ZODB imports to open a <zeoclient>, at that time and not before.
_THEIRS = "ZEO.ClientStorage"

_REMEDY = "for a section <zeoclient>, write <zeotwisted> and </zeotwisted>"


class _Watch(MetaPathFinder):
    """Is asked, as all finders are, where a module is; it knows of none, and takes note."""

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
    """A configuration imports zeotwisted: say so when ZEO's client is loaded, the first time."""
    if _THEIRS in sys.modules:
        _log.info("ZEO's client is loaded in this process, too; %s", _REMEDY)
    elif _watch not in sys.meta_path:
        sys.meta_path.insert(0, _watch)
