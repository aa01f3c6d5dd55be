"""Removes files that are not needed any more."""

from __future__ import annotations

import logging
import os

__all__ = ["remove_file"]

_log = logging.getLogger("zeotwisted")


def remove_file(path: str) -> None:
    """Remove a file if it is there.

    If that is not possible, log it. The caller does not need the file any more, so that is no
    reason to fail.
    """
    try:
        os.remove(path)
    except FileNotFoundError:
        return
    except OSError as error:
        _log.warning("%s cannot be removed: %s; remove it yourself", path, error.strerror)
