"""Databases on client storages."""

from __future__ import annotations

import logging
from typing import Any

import ZODB
from ZODB.POSException import ConflictError

__all__ = ["open_database"]

_log = logging.getLogger("zeotwisted.client")

#: How often to try. At the second try, the other client's root object normally exists.
_TRIES = 5


def open_database(storage: Any) -> ZODB.DB:
    """Return a database on `storage`. If this raises an exception, `storage` is closed.

    ZODB creates the root object of an empty database. If several clients do so at the same time,
    one succeeds, and the others use its root object.
    """
    try:
        for _ in range(_TRIES - 1):
            try:
                return ZODB.DB(storage)
            except ConflictError as error:
                _log.info("%s: another client makes the root object: %s", storage.getName(), error)
                # The invalidations of the other client's commit arrive before the answer.
                storage.ping()
        return ZODB.DB(storage)
    except BaseException:
        storage.close()
        raise
