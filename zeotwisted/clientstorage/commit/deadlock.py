"""Detects transactions that would deadlock with themselves.

A transaction may have several data managers: two connections of one database, a connection and
``db.undo``, or connections of two databases on one storage of a server. ZODB commits them in one
thread. All of them begin and vote before the first one finishes, and a storage admits one at a
time. So the second one would wait for the first one for ever.

ZODB gives each data manager its own metadata object. All of these share the transaction's
extension, by which they are recognised here. The thread must be the same, too: a program may use
one extension for all of its transactions.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol
from weakref import WeakValueDictionary

from ZODB.POSException import StorageTransactionError

__all__ = ["Part", "Votes", "refuse_second"]

_REMEDY = (
    "use one connection for all that a transaction changes (db.undo counts as another one), or "
    "give each a transaction manager of its own: db.open(transaction.TransactionManager())"
)


class Part(Protocol):
    """The part of a transaction that belongs to one storage."""

    #: The transaction's metadata.
    txn: Any
    #: The thread that made the last step.
    thread: int


def _belong_together(one: Part, other: Part) -> bool:
    """Return whether both are parts of one transaction, which one thread commits."""
    return one.thread == other.thread and _shared(one.txn) is _shared(other.txn) is not None


def _shared(txn: Any) -> Any:
    # Not `txn.extension`: if that is unpickled from bytes, it is a new object each time.
    return getattr(txn, "__dict__", {}).get("extension")


def refuse_second(first: Part | None, second: Part) -> None:
    """Check that `second` may wait for `first`.

    :raises ZODB.POSException.StorageTransactionError: it would deadlock: both are parts of one
        transaction.
    """
    if first is not None and _belong_together(first, second):
        raise StorageTransactionError(
            "this transaction changes the same storage through two connections, and would wait for "
            f"itself for ever; {_REMEDY}"
        )


class Votes:
    """The parts that have voted. Each one has the commit lock of a storage until it ends."""

    def __init__(self) -> None:
        # Weak: a storage may be closed before its transaction ends.
        self._voted: WeakValueDictionary[Hashable, Part] = WeakValueDictionary()

    def refuse_second(self, where: Hashable, part: Part) -> None:
        """Check that the vote of `part` would not wait for its own transaction.

        :param where: the identity of the storage at the server.
        :raises ZODB.POSException.StorageTransactionError: it would.
        """
        first = self._voted.get(where)
        # An application may call tpc_vote again after the connection was lost.
        if first is not part:
            refuse_second(first, part)

    def add(self, where: Hashable, part: Part) -> None:
        """`part` has voted."""
        self._voted[where] = part

    def remove(self, where: Hashable, part: Part) -> None:
        """`part` has ended."""
        if self._voted.get(where) is part:
            self._voted.pop(where, None)
