"""Databases on client storages."""

from __future__ import annotations

import logging
from typing import Any

import ZODB
from ZODB.POSException import ConflictError

__all__ = ["open_database"]

_log = logging.getLogger("zeotwisted.client")

#: How often to begin anew. The second time the other client's root is there.
_TRIES = 5


def open_database(storage: Any) -> ZODB.DB:
    """Return a database on `storage`, which is closed with it, or now if there is an exception.

    ZODB makes the root object of an empty database. Where several clients do so at the same time,
    one succeeds, and the others use its root.
    """
    try:
        for _ in range(_TRIES - 1):
            try:
                return ZODB.DB(storage)
            except ConflictError as error:
                _log.info("%s: another client makes the root object: %s", storage.getName(), error)
                # What the other one has committed is known here when this returns.
                storage.ping()
        return ZODB.DB(storage)
    except BaseException:
        storage.close()
        raise
