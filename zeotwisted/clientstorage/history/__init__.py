"""Transactions that are committed: iteration over them, and copies of whole databases."""

from __future__ import annotations

from .copying import copy_transactions, warn_of_missing_blob
from .iterators import TransactionIterator

__all__ = [
    "TransactionIterator",
    "copy_transactions",
    "warn_of_missing_blob",
]
