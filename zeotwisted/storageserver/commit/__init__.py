"""One client's transaction, through the phases of two-phase commit.

`transaction` has the phases. What a client sends before its vote is kept in a `commitlog`, on disk
(`spool`) where it is long. `storagetransaction` has the steps in the storage; the vote does there
what the client sent (`operations`).
Rule: the storage is not touched before this transaction has the commit lock.
"""

from __future__ import annotations

from .commitlog import CommitLog
from .transaction import Phase, ServerTransaction

__all__ = [
    "CommitLog",
    "Phase",
    "ServerTransaction",
]
