"""The server: serves storages to any number of clients, as Twisted services.

`service` has `StorageServer`. It uses these packages. Each may import those above it:

- `figures`: what is counted, and the reports for monitoring.
- `limits`: what clients may have, each of them and all together.
- `storage`: one served storage, and what all its clients share: the commit lock, the order of
  transactions, the queue of invalidations.
- `commit`: the transaction of one client.
- `connections`: the connection of one client, and its session.
"""

from __future__ import annotations

from .connections import peer_identity
from .engine import NotServable, check_servable
from .figures import (
    ConnectionReport,
    Histogram,
    LockReport,
    ServerReport,
    StandbyReport,
    StorageReport,
)
from .limits import neighbourhood, raise_descriptors
from .options import ServerOptions
from .service import ListeningError, StorageServer
from .storage import ServedStorage

__all__ = [
    "ConnectionReport",
    "Histogram",
    "ListeningError",
    "LockReport",
    "NotServable",
    "ServedStorage",
    "ServerOptions",
    "ServerReport",
    "StandbyReport",
    "StorageReport",
    "StorageServer",
    "check_servable",
    "neighbourhood",
    "peer_identity",
    "raise_descriptors",
]
