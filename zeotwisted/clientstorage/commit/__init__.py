"""Two-phase commit in the client, and what became of a commit whose answer was lost.

`committing` has the transactions of a storage, `transaction` the phases of one, and the gate that
admits one at a time; `outcome` finds out about a lost answer; `deadlock` refuses a second vote that
would wait for the first for ever; `oids` has oids for new objects; `metadata` is what applications
say about a transaction.
Rule: a commit is reported as failed only if the server has not committed it.
"""

from __future__ import annotations

from .committing import Committing
from .outcome import stored_without_mark, without_mark

__all__ = [
    "Committing",
    "stored_without_mark",
    "without_mark",
]
