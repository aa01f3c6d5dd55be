"""The client: a ZODB storage whose data is at a server.

`storage` has `ClientStorage`, for threads; `native` has `StorageClient`, for code in a reactor.
Both are made of the rooms, each of which may use those before it:

- `cache`: records in memory or in a file.
- `calls`: one connection's calls, and the threads that wait for their answers.
- `records`: what the client believes about the database: loads, invalidations, prefetch.
- `connection`: a server is found, verified, used, lost and found again.
- `blobs`: files of blobs, cached or shared with the server.
- `commit`: two-phase commit, and what became of a commit whose answer was lost.
- `history`: iteration over transactions, and copies of whole databases.
"""

from __future__ import annotations

from .database import open_database
from .native import StorageClient
from .storage import ClientStorage

__all__ = [
    "ClientStorage",
    "StorageClient",
    "open_database",
]
