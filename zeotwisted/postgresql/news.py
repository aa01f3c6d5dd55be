"""What was committed, by whomever, since a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .connecting import lost_connection
from .schema import Database

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Change", "changes", "has_tid", "is_set_back", "last_tid"]

#: A change with more objects than that is not worth to be told: clients look at each of them.
LIMIT = 1_000_000


@dataclass(frozen=True)
class Change:
    """What clients are to be told as one transaction.

    :ivar tid: its number.
    :ivar oids: the objects that have a new revision, each once, in no order.
    :ivar marks: ``(tid, mark)`` for each marked transaction in it, ascending. Each has 8 bytes.
    """

    tid: bytes
    oids: list[bytes]
    marks: list[tuple[bytes, bytes]]


# Both ask for one row more than they accept. The rows of one tid are together, as the index has
# them. A transaction may have no objects, and an object no state: it is undone.
_HISTORY = """
SELECT int8send(news.tid), string_agg(int8send(news.zoid), ''), {mark}
FROM (
    SELECT t.tid, o.zoid FROM "transaction" t
    LEFT JOIN LATERAL (SELECT zoid FROM object_state WHERE tid = t.tid OFFSET 0) o ON true
    WHERE t.tid > %(after)s ORDER BY t.tid LIMIT %(limit)s
) news
GROUP BY news.tid ORDER BY news.tid
"""
_MARK = "(SELECT int8send(c.mark) FROM zeotwisted_commit c WHERE c.tid = news.tid LIMIT 1)"

# Each object is there under its last tid only. A tid that has none any more may have a mark.
_HISTORY_FREE = """
SELECT int8send(max(news.tid)), string_agg(int8send(news.zoid), ''), {marks}
FROM (
    SELECT tid, zoid FROM object_state WHERE tid > %(after)s ORDER BY tid LIMIT %(limit)s
) news
"""
_MARKS = """(
    SELECT string_agg(int8send(marked.tid) || int8send(marked.mark), '' ORDER BY marked.tid)
    FROM (
        SELECT tid, mark FROM zeotwisted_commit
        WHERE tid > %(after)s ORDER BY tid LIMIT %(limit)s
    ) marked
)"""

_LAST = {
    True: 'SELECT int8send(max(tid)) FROM "transaction"',
    False: "SELECT int8send(max(tid)) FROM object_state",
}
_NONE = bytes(8)

_HAS = {
    True: 'EXISTS (SELECT FROM "transaction" WHERE tid = %(tid)s)',
    False: "EXISTS (SELECT FROM object_state WHERE tid = %(tid)s)",
}
_HAS_MARK = "EXISTS (SELECT FROM zeotwisted_commit WHERE tid = %(tid)s)"


# RelStorage takes the clock's tid, unless the last object has a later one.
_SET_BACK = """
SELECT make_current_tid() <= %(tid)s AND NOT EXISTS (SELECT FROM object_state WHERE tid >= %(tid)s)
"""


def changes(
    connection: Connection[Any], database: Database, after: bytes, limit: int = LIMIT
) -> list[Change] | None:
    """Return all that is committed after a transaction, in one statement, oldest first.

    With history, there is one change for each transaction. Without, all of them are one change
    under the last tid: told one by one, a client could take an old record for the current one. If
    only marks are newer (all that was stored is deleted again), that change has the tid `after`
    and no objects; it is returned again until there is something newer.

    :param after: 8 bytes, the last transaction that is known.
    :param limit: how many objects and transactions to accept.
    :return: None if there are more than that: what is known has to be forgotten.
    :raises Unreachable: the connection is lost.
    """
    query = _HISTORY if database.keep_history else _HISTORY_FREE
    with_marks = database.table and database.may_use_table
    text = query.format(
        mark=_MARK if with_marks else "NULL::bytea", marks=_MARKS if with_marks else "NULL::bytea"
    )
    arguments = {"after": int.from_bytes(after, "big"), "limit": limit + 1}
    with lost_connection(), connection.cursor(binary=True) as cursor:
        rows = cursor.execute(text, arguments, prepare=False).fetchall()
    found = []
    count = 0
    for tid, oids, marks in rows:
        if tid is None and marks is None:
            continue
        change = Change(tid or after, _split(oids or b""), _marks(database, tid, marks or b""))
        # A transaction without objects is a row, too.
        count += max(len(change.oids), len(change.marks), 1)
        found.append(change)
    return found if count <= limit else None


def _marks(database: Database, tid: bytes, marks: bytes) -> list[tuple[bytes, bytes]]:
    if database.keep_history:
        return [(tid, marks)] if marks else []
    parts = _split(marks)
    return list(zip(parts[::2], parts[1::2], strict=True))


def _split(ids: bytes) -> list[bytes]:
    return [ids[start : start + 8] for start in range(0, len(ids), 8)]


def last_tid(connection: Connection[Any], database: Database) -> bytes:
    """Return the tid of the last transaction, 8 bytes; zeros if the database is empty.

    Without history, a pack or a deletion may remove the objects of the last transaction, and so
    make this a lower number than before.

    :raises Unreachable: the connection is lost.
    """
    with lost_connection(), connection.cursor(binary=True) as cursor:
        row = cursor.execute(_LAST[database.keep_history], prepare=False).fetchone()
    tid: bytes | None = row[0] if row else None
    return tid or _NONE


def is_set_back(connection: Connection[Any], database: Database, tid: bytes) -> bool:
    """Return whether the next transaction may get a lower tid than one that there was.

    Without history, this is so if all that the last transactions have stored is removed, and the
    clock of the server was set back to a time before them.

    :param tid: 8 bytes, the highest tid that there was.
    :raises Unreachable: the connection is lost.
    """
    if database.keep_history:
        return False
    with lost_connection():
        row = connection.execute(_SET_BACK, {"tid": int.from_bytes(tid, "big")}).fetchone()
    return bool(row and row[0])


def has_tid(connection: Connection[Any], database: Database, tid: bytes) -> bool:
    """Return whether a transaction is in the database.

    Without history, nobody knows it of a transaction without a mark whose objects have all been
    changed again. Then this returns False.

    :raises Unreachable: the connection is lost.
    """
    wanted = [_HAS[database.keep_history]]
    if database.table and database.may_use_table:
        wanted.append(_HAS_MARK)
    arguments = {"tid": int.from_bytes(tid, "big")}
    with lost_connection():
        row = connection.execute(f"SELECT {' OR '.join(wanted)}", arguments).fetchone()
    return bool(row and row[0])
