"""Checks whether a file can be written, before it is needed."""

from __future__ import annotations

import os

__all__ = ["unwritable"]


def unwritable(path: str | os.PathLike[str]) -> str | None:
    """Return why a file cannot be written, and what to do. None if it can be written or created."""
    name = os.path.abspath(path)
    folder = os.path.dirname(name)
    if not os.path.exists(folder):
        return f"the folder {folder} does not exist; create it, or choose another one"
    if not os.path.isdir(folder):
        return f"{folder} is a file, not a folder; choose another path"
    if os.path.isdir(name):
        return f"{name} is a folder; write the path of a file"
    if not os.access(name if os.path.exists(name) else folder, os.W_OK):
        return f"{name} cannot be written; change its permissions, or choose another path"
    return None
