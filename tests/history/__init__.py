"""A history checker: clients record what they read and wrote; the storage's order decides.

`recording` is put between ``ZODB.DB`` and a storage, and records. `history` has the events, in
memory or in files. `database` is what the storage has in the end. `checker` compares them, by a
table of rules::

    history = History()
    database = ZODB.DB(Recording(storage, history, "client 1"))
    ...
    for violation in check(history, transactions_of(storage)):
        print(violation)
"""

from __future__ import annotations

from .case import Case
from .checker import RULES, Violation, check
from .database import Transaction, transactions_of
from .history import Event, History, HistoryFile, read_history
from .recording import Recording, nothing, unless_in_doubt

__all__ = [
    "RULES",
    "Case",
    "Event",
    "History",
    "HistoryFile",
    "Recording",
    "Transaction",
    "Violation",
    "check",
    "nothing",
    "read_history",
    "transactions_of",
    "unless_in_doubt",
]
