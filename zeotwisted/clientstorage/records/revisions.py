"""Conflict resolution with the revisions that the client has in its cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ZODB.utils import maxtid, p64, u64

__all__ = ["Revisions"]


class Revisions:
    """What ZODB's ``tryToResolveConflict`` needs of a storage.

    The client has read the old revision and may still have it, while a storage without history has
    dropped it. To have it saves a call in other storages.

    :param storage: the client.
    :param cached: returns a revision from the cache; see ``Coherence.load_before``.
    """

    def __init__(self, storage: Any, cached: Callable[[bytes, bytes], Any]) -> None:
        self._load_serial = storage.loadSerial
        self._cached = cached
        self._crs_transform_record_data = storage._crs_transform_record_data
        self._crs_untransform_record_data = storage._crs_untransform_record_data

    def loadSerial(self, oid: bytes, serial: bytes) -> bytes:
        """Return the data of the revision `serial`."""
        if serial < maxtid:
            revision = self._cached(oid, p64(u64(serial) + 1))
            if revision is not None and revision[1] == serial:
                data: bytes = revision[0]
                return data
        loaded: bytes = self._load_serial(oid, serial)
        return loaded
