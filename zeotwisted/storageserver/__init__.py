"""The server: serves storages to any number of clients, as Twisted services.

`service` has `StorageServer`. It uses these packages. Each may import those above it:

- `limits`: what clients may have, each of them and all together.
- `storage`: one served storage, and what all its clients share: the commit lock, the order of
  transactions, the queue of invalidations.
- `commit`: the transaction of one client.
- `connections`: the connection of one client, and its session.
"""

from __future__ import annotations

from .engine import NotServable, check_servable
from .limits import raise_descriptors
from .options import ServerOptions
from .service import ListeningError, StorageServer

__all__ = [
    "ListeningError",
    "NotServable",
    "ServerOptions",
    "StorageServer",
    "check_servable",
    "raise_descriptors",
]
