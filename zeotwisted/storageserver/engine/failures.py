"""What a storage raises when it has lost its database.

RelStorage passes on the exceptions of its driver then. To clients they would be bugs of the server,
and applications would not try again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ZODB.POSException import POSError, ReadConflictError

__all__ = ["DatabaseFailed", "translated"]

#: The names that each driver gives to its exceptions for this (PEP 249), whatever its package.
_LOST = frozenset({"InterfaceError", "OperationalError"})


class DatabaseFailed(ReadConflictError):
    """A storage has lost its connection to the database; nothing was committed.

    All clients, also those of ZEO, try a transaction again that fails with a conflict. RelStorage
    has an exception of this kind for connections that have become useless.
    """


@contextmanager
def translated() -> Iterator[None]:
    """Raise `DatabaseFailed` in place of a driver's exceptions for a lost database."""
    try:
        yield
    except POSError:
        raise
    except Exception as error:
        if not _LOST.isdisjoint(each.__name__ for each in type(error).__mro__):
            text = " ".join(str(error).split())
            raise DatabaseFailed(f"the server has lost its database: {text}") from error
        raise
