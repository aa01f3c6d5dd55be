"""The numbers in the answers to `server_status` and ``ruok``, with ZEO's names and order."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from .verification import Verification

__all__ = ["StorageStats"]


@dataclass
class StorageStats:
    """Counts the operations of one storage since the server started.

    The first ones are ZEO's, and in the answers to `server_status`. A cache of records in the
    daemon would count its hits here.

    :ivar undos: transactions that clients wanted to undo.
    :ivar verifications: clients that came back with a cache, by what they were told.
    :ivar blob_bytes_sent: bytes of blobs that clients have read.
    :ivar blob_bytes_received: bytes of blobs that clients have sent.
    """

    loads: int = 0
    stores: int = 0
    commits: int = 0
    aborts: int = 0
    active_txns: int = 0
    conflicts: int = 0
    conflicts_resolved: int = 0
    start: str = field(default_factory=time.ctime)
    undos: int = 0
    verifications: dict[Verification, int] = field(
        default_factory=lambda: dict.fromkeys(Verification, 0)
    )
    blob_bytes_sent: int = 0
    blob_bytes_received: int = 0

    def report(
        self,
        connections: int,
        lock_time: float | None,
        waiting: int,
        timeout: float | None,
        last_transaction: bytes,
    ) -> dict[str, Any]:
        """Return the status as ZEO's monitoring tools expect it."""
        return {
            "connections": connections,
            "loads": self.loads,
            "stores": self.stores,
            "commits": self.commits,
            "aborts": self.aborts,
            "active_txns": self.active_txns,
            "lock_time": lock_time,
            "conflicts": self.conflicts,
            "conflicts_resolved": self.conflicts_resolved,
            "start": self.start,
            "waiting": waiting,
            # ZEO reports its thread for the transaction timeout; "stub" means no timeout. There is
            # no such thread here.
            "timeout-thread-is-alive": "stub" if timeout is None else True,
            "last-transaction": last_transaction.hex(),
        }
