"""The folders for a storage's blobs, and for their temporary files."""

from __future__ import annotations

from typing import Any

from ZODB.interfaces import IBlobStorage

from zeotwisted.files import Folder, known_folder

__all__ = ["ensure_blob_folder", "ensure_temporary_folder"]


def ensure_temporary_folder(storage: Any) -> None:
    """Create the storage's folder for temporary files if it does not exist any more.

    :raises OSError: the folder cannot be created.
    """
    # Storages without an fshelper create the folder themselves when they need it.
    helper = getattr(storage, "fshelper", None)
    if helper is not None and IBlobStorage.providedBy(storage):
        known_folder(helper.temp_dir).ensure()


def ensure_blob_folder(storage: Any, oid: bytes) -> None:
    """Create the folder for the blobs of an object.

    ZODB creates it, too. If that fails, it only raises an AssertionError without a text.

    :raises OSError: the folder cannot be created.
    """
    helper = getattr(storage, "fshelper", None)
    if helper is not None and IBlobStorage.providedBy(storage):
        Folder(helper.getPathForOID(oid)).ensure()
