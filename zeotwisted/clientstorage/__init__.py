"""The client: a ZODB storage whose data is at a server.

`storage` has `ClientStorage`, for threads; `native` has `StorageClient`, for code in a reactor.
Both use these packages, each of which may import those before it:

- `cache`: records in memory or in a file.
- `calls`: the calls of one connection, and the threads that wait for their answers.
- `records`: loads, invalidations and prefetch.
- `connection`: finds a server, brings the cache up to date, reconnects.
- `blobs`: files of blobs, cached or shared with the server.
- `commit`: two-phase commit, and the outcome of a commit whose answer was lost.
- `history`: iteration over transactions, and copies of whole databases.
- `feed`: every transaction once, in order, for code in a reactor.
"""

from __future__ import annotations

from .database import open_database
from .feed import ChangedRecord, ChangedTransaction, Changes
from .native import StorageClient
from .storage import ClientStorage

__all__ = [
    "ChangedRecord",
    "ChangedTransaction",
    "Changes",
    "ClientStorage",
    "StorageClient",
    "open_database",
]
