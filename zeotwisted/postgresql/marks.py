"""Marks of transactions, by which any daemon can tell whether one is committed.

A mark is written in the SQL transaction that it is for, before anybody is told that the vote has
succeeded; an advisory lock of the same number is held until this transaction has ended.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from .connecting import driver, lost_connection
from .errors import InDoubt, PostgreSQLError

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["NO_TID", "forget_old", "mark_transaction", "new_mark", "outcome", "write"]

#: The outcome of a transaction that is committed, and whose tid is not known: without history,
#: that of those that stored nothing is nowhere; and without the trigger, nobody notes any.
NO_TID = bytes(8)

_DAY = 24 * 60 * 60.0

# One statement, for drivers that do not send two at once. The lock is taken first, since the row
# depends on it.
_WRITE = """
INSERT INTO zeotwisted_commit (mark, tid)
SELECT %s, %s WHERE pg_advisory_xact_lock(%s) IS NOT NULL
"""
_TID = "SELECT int8send(tid) FROM zeotwisted_commit WHERE mark = %s"
_FORGET = "DELETE FROM zeotwisted_commit WHERE made < now() - make_interval(secs => %s)"


def new_mark() -> bytes:
    """Return 8 random bytes, which nobody has used before."""
    # As a number with a sign, it is below 0: RelStorage has locks from 0 on, which are oids, and a
    # few of the negative numbers next to it.
    while True:
        mark = os.urandom(8)
        if _number(mark) < -1000:
            return mark


def _number(mark: bytes) -> int:
    return int.from_bytes(mark, "big", signed=True)


def mark_transaction(storage: Any, mark: bytes) -> None:
    """Write a mark for the transaction that a storage of RelStorage has voted for.

    It takes one round trip. If it fails, the transaction has to be aborted.

    :param storage: between ``tpc_vote`` and ``tpc_finish``.
    :param mark: see `new_mark`.
    :raises PostgreSQLError: this version of RelStorage cannot be marked.
    """
    try:
        phase = storage._tpc_phase
        cursor = phase.shared_state.store_connection.cursor
        locked = phase.committing_tid_lock
    except AttributeError as error:
        raise PostgreSQLError(
            f"transactions of this version of RelStorage cannot be marked ({error}); install "
            "RelStorage 4"
        ) from None
    write(cursor, mark, None if locked is None else locked.tid_int)


def write(cursor: Any, mark: bytes, tid: int | None = None) -> None:
    """Write a mark in the SQL transaction of a cursor, in one round trip.

    :param cursor: of any DB-API driver that has ``%s`` for arguments.
    :param mark: see `new_mark`.
    :param tid: its tid as a number, if it has one already.
    """
    number = _number(mark)
    cursor.execute(_WRITE, (number, tid, number))


def outcome(connection: Connection[Any], mark: bytes, patience: float) -> bytes | None:
    """Return the tid of the transaction with a mark; None if it is not, and never will be, there.

    It waits for a transaction that has not ended yet. The connection must not be in a transaction.
    Nothing is known of marks that were forgotten.

    :param patience: how long (seconds) to wait for it.
    :return: 8 bytes; `NO_TID` if it is committed, and its tid is not known.
    :raises InDoubt: it has not ended in this time, or the server is a standby.
    :raises Unreachable: the connection is lost.
    """
    number = _number(mark)
    with lost_connection():
        tid = _committed(connection, number)
        if tid is None:
            _wait_for_end(connection, number, patience)
            tid = _committed(connection, number)
    return tid


def _committed(connection: Connection[Any], number: int) -> bytes | None:
    with connection.cursor(binary=True) as cursor:
        row = cursor.execute(_TID, (number,)).fetchone()
    return None if row is None else row[0] or NO_TID


def _wait_for_end(connection: Connection[Any], number: int, patience: float) -> None:
    errors = driver().errors
    # Of a transaction that is on its way, a standby knows neither the row nor the lock.
    row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    if row is None or row[0]:
        raise InDoubt(
            "a standby cannot tell whether a transaction is committed; ask the primary server"
        )
    # 0 would mean to wait forever.
    milliseconds = max(1, int(patience * 1000))
    try:
        with connection.transaction():
            connection.execute(
                "SELECT set_config('lock_timeout', %s, true)", (f"{milliseconds}ms",)
            )
            # Others may ask at the same time.
            connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", (number,))
    except errors.LockNotAvailable:
        raise InDoubt(
            f"the transaction has not ended within {patience:g} seconds; ask again"
        ) from None


def forget_old(connection: Connection[Any], seconds: float = _DAY) -> int:
    """Remove marks that nobody asks for any more; return how many.

    :param seconds: how old they have to be.
    :raises Unreachable: the connection is lost.
    """
    with lost_connection():
        return connection.execute(_FORGET, (seconds,)).rowcount
