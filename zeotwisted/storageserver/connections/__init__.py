"""One client: its TCP connection and its session with a storage.

`factory` makes a `protocol` for each client, and `clients` has all of them. `backlog` counts the
bytes that the client's socket has not accepted yet. `connection` has the session. `answering` runs
calls and writes their answers; `calls` finds the function for a call in `registration`,
`wholestorage`, `records`, `history`, `blobs` or `transactions`. `iterators` and
`uploads` have the files that a client has open. `fulldisk` says whose disk is full. `reporting`
describes a client for monitoring.
Rule: when a connection is lost, all that it held is released.
"""

from __future__ import annotations

from .clients import Clients
from .factory import StorageServerFactory
from .proof import peer_identity

__all__ = [
    "Clients",
    "StorageServerFactory",
    "peer_identity",
]
