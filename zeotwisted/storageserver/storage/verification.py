"""What a client is told that comes back with a cache."""

from __future__ import annotations

from enum import Enum

__all__ = ["Verification"]


class Verification(Enum):
    """The outcomes. The values are for reports."""

    #: Nothing has changed since its last transaction.
    CURRENT = "current"
    #: What has changed, from the queue of invalidations.
    QUEUE = "queue"
    #: What has changed, read from the storage's transactions.
    STORAGE = "storage"
    #: Nothing: it has been away for too long, and drops its cache.
    TOO_OLD = "too_old"
