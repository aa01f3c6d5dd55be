"""One client: its TCP connection and its session with a storage.

`protocol` is the Twisted protocol, `backlog` what the client's socket has not taken yet,
`connection` the session. `calls` finds the function for a call in `registration`, `wholestorage`,
`records`, `history`, `blobs` or `transactions`; `iterators` and `uploads` are what a client has
open.
Rule: what a connection held is free when it is lost.
"""

from __future__ import annotations

from .protocol import StorageServerFactory

__all__ = [
    "StorageServerFactory",
]
