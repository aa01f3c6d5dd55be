"""Helpers for files and folders: some may be removed by others, some cannot be written."""

from __future__ import annotations

from .folders import Folder, known_folder
from .fulldisk import is_full
from .removal import remove_file
from .whole import replace_file, replace_files
from .writable import unwritable

__all__ = [
    "Folder",
    "is_full",
    "known_folder",
    "remove_file",
    "replace_file",
    "replace_files",
    "unwritable",
]
