"""The folder for a storage's temporary files of blobs."""

from __future__ import annotations

from typing import Any

from ZODB.interfaces import IBlobStorage

from zeotwisted.files import known_folder

__all__ = ["ensure_temporary_folder"]


def ensure_temporary_folder(storage: Any) -> None:
    """Create the storage's folder for temporary files if it does not exist any more.

    :raises OSError: the folder cannot be created.
    """
    # Storages without an fshelper create the folder themselves when they need it.
    helper = getattr(storage, "fshelper", None)
    if helper is not None and IBlobStorage.providedBy(storage):
        known_folder(helper.temp_dir).ensure()
