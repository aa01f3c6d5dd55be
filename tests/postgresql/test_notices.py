"""What a notification says of a commit."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from ZODB.utils import maxtid, p64, z64

from tests.postgresql import relational
from zeotwisted.postgresql import Listener, Notice, install, mark_transaction, new_mark
from zeotwisted.postgresql.notices import parse_notice


@pytest.mark.parametrize(
    "payload, notice",
    [
        (b"", Notice()),
        (b"  ", Notice()),
        (b"0 1 ", Notice(z64, p64(1))),
        (b" 9223372036854775807 -1", Notice(None, maxtid, b"\xff" * 8)),
        (b"1 2 -9223372036854775808", Notice(p64(1), p64(2), b"\x80" + bytes(7))),
        (b"0123456789abcdef", None),
        (b"1 2", None),
        (b"1 2 3 4", None),
        (b"1 x 3", None),
        (b"1 2 18446744073709551616", None),
        (b"1 2 -9223372036854775809", None),
        (b"1 2 " + b"9" * 5000, None),
    ],
)
def test_a_payload_is_read(payload: bytes, notice: Notice | None) -> None:
    assert parse_notice(payload) == notice


def test_a_commit_names_itself_and_the_one_before(
    storage: Any, connection: Any, dsn: str, keep_history: bool
) -> None:
    install(connection)
    with closing(Listener(dsn)) as listener:
        first = relational.commit(storage, {p64(1): (z64, b"a")})
        mark = new_mark()
        transaction = relational.voted(storage, {p64(2): (z64, b"b")})
        mark_transaction(storage, mark)
        second = storage.tpc_finish(transaction)
        listener.selftest()
        notices = listener.wait(0)
    if keep_history:
        # RelStorage begins with a transaction 0.
        assert notices == [Notice(z64, first, None), Notice(first, second, mark)]
    else:
        assert notices == [Notice(None, first, None), Notice(None, second, mark)]


def test_a_transaction_without_objects(
    storage: Any, connection: Any, dsn: str, keep_history: bool
) -> None:
    install(connection)
    with closing(Listener(dsn)) as listener:
        first = relational.commit(storage, {p64(1): (z64, b"a")})
        empty = storage.tpc_finish(relational.voted(storage, {}))
        listener.selftest()
        notices = listener.wait(0)
    assert notices[0] == Notice(z64 if keep_history else None, first, None)
    if keep_history:
        assert notices[1:] == [Notice(first, empty, None)]
    else:
        assert all(notice == Notice() for notice in notices[1:])


def test_several_transactions_in_one(
    storage: Any, connection: Any, dsn: str, keep_history: bool
) -> None:
    """A program that copies a database may write many at once."""
    if not keep_history:
        pytest.skip("there is no table of transactions")
    install(connection)
    with closing(Listener(dsn)) as listener:
        connection.execute(
            """INSERT INTO "transaction" (tid, username, description)
            VALUES (5, '', ''), (7, '', '')"""
        )
        assert listener.wait(10.0) == [Notice(z64, p64(5)), Notice(p64(5), p64(7))]
