"""One client: its TCP connection and its session with a storage.

`factory` makes a `protocol` for each client, and `clients` has all of them. `backlog` is what the
client's socket has not taken yet, `connection` the session. `calls` finds the function for a call
in `registration`, `wholestorage`, `records`, `history`, `blobs` or `transactions`; `iterators` and
`uploads` are what a client has open.
Rule: what a connection held is free when it is lost.
"""

from __future__ import annotations

from .factory import StorageServerFactory

__all__ = [
    "StorageServerFactory",
]
