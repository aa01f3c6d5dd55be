"""The server: storages served to any number of clients, as Twisted services.

`service` has `StorageServer`. It is made of rooms, each of which may use those before it:

- `storage`: one served storage, and what all its clients share: the commit lock, the order of
  transactions, the queue of invalidations.
- `commit`: one client's transaction.
- `connections`: one client's connection and session.
"""

from __future__ import annotations

from .options import ServerOptions
from .service import ListeningError, StorageServer
from .storage import NotServable, check_servable

__all__ = [
    "ListeningError",
    "NotServable",
    "ServerOptions",
    "StorageServer",
    "check_servable",
]
