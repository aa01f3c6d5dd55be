"""The file that says that a standby has been promoted. It does not follow after a restart then."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from zeotwisted.files import replace_file

__all__ = ["Marker"]


class Marker:
    """The file beside the file of a storage.

    :param storage_path: the storage's file.
    """

    def __init__(self, storage_path: str) -> None:
        self.path = os.path.abspath(storage_path) + ".promoted"

    def is_set(self) -> bool:
        """Return whether the storage has been promoted."""
        return os.path.exists(self.path)

    def set(self, last: bytes) -> dict[str, Any]:
        """Note that the storage is promoted, and has transactions up to `last`; return the note.

        :raises OSError: the file cannot be written.
        """
        note = {"last": last.hex(), "promoted": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        replace_file(self.path, json.dumps(note).encode() + b"\n", 0o644)
        _sync_folder(os.path.dirname(self.path))
        return note


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
