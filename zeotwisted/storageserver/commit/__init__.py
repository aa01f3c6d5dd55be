"""One client's transaction, through the phases of two-phase commit.

`transaction` has the phases. A `commitlog` keeps the operations that a client sends before its
vote; long ones are on disk (`spool`). `storagetransaction` has the steps in the storage. The vote
calls the `operations` in the storage.
Rule: the storage is not used before this transaction has the commit lock.
"""

from __future__ import annotations

from .commitlog import CommitLog
from .transaction import Phase, ServerTransaction

__all__ = [
    "CommitLog",
    "Phase",
    "ServerTransaction",
]
