"""The feed of changes: every transaction of a server's storage once, in order.

`changes` is the feed: it keeps the position across connections, and waits at the end. `reading`
reads a part of the log over one connection, in either version of the protocol. `transactions` has
what it hands out; long transactions are kept on disk.
Rule: a transaction is handed out complete or not at all.
"""

from __future__ import annotations

from .changes import Changes, Source
from .reading import read_log
from .transactions import ChangedRecord, ChangedTransaction

__all__ = ["ChangedRecord", "ChangedTransaction", "Changes", "Source", "read_log"]
