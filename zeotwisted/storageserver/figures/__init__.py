"""What the server counts, and the reports of it: numbers only, formatted by whoever asks.

`histogram` counts how long things take. `calls` has one for each call of clients, and `server` what
concerns no storage. `reports` are the forms in which other rooms see the state of the server. The
counts of a storage are in `storage.status`.
Rule: to count is an addition to a number in memory. Nothing is formatted, allocated or looked up by
a name that a client has chosen.
"""

from __future__ import annotations

from .calls import TIMED, CallFigures
from .histogram import LOCK_BOUNDS, Histogram
from .reports import (
    CacheReport,
    ConnectionReport,
    ConnectionState,
    FollowersReport,
    LockReport,
    PackReport,
    QueueReport,
    ReaderReport,
    ServerReport,
    StandbyReport,
    StorageReport,
    TransactionReport,
    Turn,
)
from .server import Refusal, ServerFigures

__all__ = [
    "LOCK_BOUNDS",
    "TIMED",
    "CacheReport",
    "CallFigures",
    "ConnectionReport",
    "ConnectionState",
    "FollowersReport",
    "Histogram",
    "LockReport",
    "PackReport",
    "QueueReport",
    "ReaderReport",
    "Refusal",
    "ServerFigures",
    "ServerReport",
    "StandbyReport",
    "StorageReport",
    "TransactionReport",
    "Turn",
]
