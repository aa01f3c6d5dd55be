"""Two-phase commit in the client, and the outcome of a commit whose answer was lost.

`committing` has the transactions of a storage. `transaction` has the phases of a transaction, and
the gate that admits one at a time. `outcome` asks the server about a commit after a lost answer.
`deadlock` refuses a second vote that would wait for the first for ever. `oids` has oids for new
objects. `metadata` has the user, description and extension of a transaction.
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
