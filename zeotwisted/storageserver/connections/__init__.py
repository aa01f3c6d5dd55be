"""One client: its TCP connection and its session with a storage.

`factory` makes a `protocol` for each client, and `clients` has all of them. `backlog` counts the
bytes that the client's socket has not accepted yet. `connection` has the session. `calls` finds the
function for a call in `registration`, `wholestorage`, `records`, `history`, `blobs` or
`transactions`. `iterators` and `uploads` have the files that a client has open.
Rule: when a connection is lost, all that it held is released.
"""

from __future__ import annotations

from .factory import StorageServerFactory

__all__ = [
    "StorageServerFactory",
]
