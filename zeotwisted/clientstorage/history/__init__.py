"""Committed transactions: history and undo logs, iteration, and copies of whole databases."""

from __future__ import annotations

from .batches import read_log
from .copying import copy_transactions, warn_of_missing_blob
from .iterators import transactions
from .logs import READERS, Entry, entries, history, loaded_extension, undo_log

__all__ = [
    "READERS",
    "Entry",
    "copy_transactions",
    "entries",
    "history",
    "loaded_extension",
    "read_log",
    "transactions",
    "undo_log",
    "warn_of_missing_blob",
]
