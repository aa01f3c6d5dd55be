"""What serving RelStorage on PostgreSQL needs beyond RelStorage, with connections of its own.

This room knows SQL, RelStorage's tables, and how to be told of commits; it knows neither servers
nor clients of ours. The driver, psycopg, is imported when it is used and not before: it comes with
the extra ``zeotwisted[postgresql]``.
"""

from __future__ import annotations

from .connecting import connect
from .errors import (
    Deaf,
    DriverMissing,
    InDoubt,
    NoTables,
    NotInstalled,
    Pooled,
    PostgreSQLError,
    Unreachable,
    WrongSchema,
)
from .listener import Listener
from .loads import RecordLoads
from .marks import NO_TID, forget_old, mark_transaction, new_mark, outcome, write
from .news import Change, changes, has_tid, is_set_back, last_tid
from .notices import Notice
from .opened import OpenedConnections
from .relational import data_source, make_careful
from .remedies import explain
from .schema import Database, Identity, examine
from .setup import check, check_writable, install, statements, undo, undo_statements

__all__ = [
    "NO_TID",
    "Change",
    "Database",
    "Deaf",
    "DriverMissing",
    "Identity",
    "InDoubt",
    "Listener",
    "NoTables",
    "NotInstalled",
    "Notice",
    "OpenedConnections",
    "Pooled",
    "PostgreSQLError",
    "RecordLoads",
    "Unreachable",
    "WrongSchema",
    "changes",
    "check",
    "check_writable",
    "connect",
    "data_source",
    "examine",
    "explain",
    "forget_old",
    "has_tid",
    "install",
    "is_set_back",
    "last_tid",
    "make_careful",
    "mark_transaction",
    "new_mark",
    "outcome",
    "statements",
    "undo",
    "undo_statements",
    "write",
]
