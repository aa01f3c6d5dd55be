"""Helpers for files and folders that another process may remove, or that cannot be written."""

from __future__ import annotations

from .folders import Folder, known_folder
from .writable import unwritable

__all__ = [
    "Folder",
    "known_folder",
    "unwritable",
]
