"""The folder in which a storage has temporary files of blobs."""

from __future__ import annotations

from typing import Any

from ZODB.interfaces import IBlobStorage

from zeotwisted.files import known_folder

__all__ = ["ensure_temporary_folder"]


def ensure_temporary_folder(storage: Any) -> None:
    """Make the storage's folder for temporary files if it is not there any more.

    :raises OSError: that is not possible.
    """
    # Others say where it is only when it is needed, or make it then.
    helper = getattr(storage, "fshelper", None)
    if helper is not None and IBlobStorage.providedBy(storage):
        known_folder(helper.temp_dir).ensure()
