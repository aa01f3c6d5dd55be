"""Finds out whether a storage can still be used after a failure.

If the disk fails while FileStorage finishes a transaction, FileStorage closes itself: it does not
know what is on the disk. When the file is opened again, it reads what is there.
"""

from __future__ import annotations

from typing import Any

from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, z64

__all__ = ["why_unusable"]


def why_unusable(storage: Any) -> str:
    """Return why a storage cannot be used any more; an empty text if it can."""
    # A FileStorage has it, and storages that pass on the attributes of one. If the disk fails again
    # while it is closed, records can still be loaded, but nothing can be committed.
    if getattr(getattr(storage, "_file", None), "closed", False) is True:
        return "the storage has closed its file"
    try:
        storage.loadBefore(z64, maxtid)
    except POSKeyError:
        # There is no root object.
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
