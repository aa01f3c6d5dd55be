"""Two-phase commit in the client, and what became of a commit whose answer was lost.

`transaction` has the phases, and the gate that admits one transaction at a time; `outcome` finds
out about a lost answer; `deadlock` refuses a second vote that would wait for the first for ever.
Rule: a commit is reported as failed only if the server has not committed it.
"""

from __future__ import annotations

from .deadlock import Votes
from .metadata import READERS, Entry, entries, history, undo_log
from .outcome import stored_without_mark, without_mark
from .transaction import ClientTransaction, CommitGate

__all__ = [
    "READERS",
    "ClientTransaction",
    "CommitGate",
    "Entry",
    "Votes",
    "entries",
    "history",
    "stored_without_mark",
    "undo_log",
    "without_mark",
]
