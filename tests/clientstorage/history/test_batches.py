"""`read_log` for threads: how it puts transactions together of what a server sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ZODB.utils import p64, z64

from zeotwisted.clientstorage.commit.outcome import marked_stored
from zeotwisted.clientstorage.history import batches
from zeotwisted.clientstorage.history.batches import read_log
from zeotwisted.exceptions import ClientDisconnected, UnrecognizedResult
from zeotwisted.protocol import CHANGES

NUMBER = 7


def about(tid: int, extension: bytes = b"", status: Any = " ") -> tuple[Any, ...]:
    """Return the item that begins a transaction."""
    return p64(tid), status, b"user", b"description", extension


def record(oid: int, data: bytes | None = b"data", source: bytes | None = None) -> tuple[Any, ...]:
    return p64(oid), source, data, False


class Connection:
    """A link and its connection, to a server that answers so."""

    def __init__(self, *answers: Any, capabilities: Sequence[str] = (CHANGES,)) -> None:
        self.capabilities = capabilities
        self.asked: list[tuple[Any, ...]] = []
        self.freed: list[tuple[Any, int]] = []
        self.dropped = self
        self._answers = list(answers)
        self._waiters: list[Any] = []

    # The link.

    def protocol(self) -> Any:
        return self

    def add(self, protocol: Any, number: int) -> None:
        self.freed.append((protocol, number))

    # The connection.

    def ask(self, waiter: Any, name: str, *args: Any) -> Any:
        self.call(waiter, name, *args)
        return self.wait(waiter)

    def call(self, waiter: Any, name: str, *args: Any) -> None:
        self._waiters.append(waiter)
        self.asked.append((name, *args))

    def wait(self, waiter: Any) -> Any:
        assert self._waiters == [waiter], "one call at a time, and the one that was made"
        self._waiters.clear()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def log(connection: Any, since: bytes = z64) -> list[tuple[bytes, list[Any]]]:
    """Return tids, and oid, data and source of each record."""
    return [
        (each.tid, [(record.oid, record.data, record.data_txn) for record in each])
        for each in read_log(connection, since, p64(99))
    ]


def test_transactions_go_on_in_the_next_batch() -> None:
    connection = Connection(
        (True, NUMBER, [about(1), record(1)]),
        (NUMBER, [record(2, None, p64(1)), None, about(2)]),
        (None, [None, about(3), record(3), None]),
    )
    assert log(connection, p64(5)) == [
        (p64(1), [(p64(1), b"data", None), (p64(2), None, p64(1))]),
        (p64(2), []),
        (p64(3), [(p64(3), b"data", None)]),
    ]
    begin = "changes_start", p64(5), p64(99), True
    assert connection.asked == [begin, *[("changes_next", NUMBER)] * 2]
    assert connection.freed == [], "the server has freed it at the end"


def test_an_empty_log() -> None:
    assert log(Connection((True, None, []))) == []


def test_the_next_batch_is_asked_for_before_one_is_dealt_with() -> None:
    connection = Connection(
        (True, NUMBER, [about(1), None, about(2), None]), (None, [about(3), None])
    )
    transactions = read_log(connection, z64, p64(99))  # type: ignore[arg-type]
    assert len(connection.asked) == 1, "nothing before it is needed"
    assert next(transactions).tid == p64(1)
    assert connection.asked[1:] == [("changes_next", NUMBER)]
    assert [each.tid for each in transactions] == [p64(2), p64(3)]
    assert len(connection.asked) == 2


def test_records_that_nobody_reads_are_left_out() -> None:
    connection = Connection(
        (True, None, [about(1), record(1), record(2), None, about(2), record(3), None])
    )
    transactions = read_log(connection, z64, p64(99))  # type: ignore[arg-type]
    first = next(transactions)
    assert next(iter(first)).oid == p64(1)
    second = next(transactions)
    assert list(first) == [], "it is too late"
    assert [each.oid for each in second] == [p64(3)]


def test_what_a_transaction_says_about_itself() -> None:
    extension = b"\x80\x03}X\x01\0\0\0aK\x01s."
    stored, mark = marked_stored(extension)
    assert mark is not None and stored != extension
    connection = Connection((True, None, [about(1, stored, b"p"), None]))
    (transaction,) = read_log(connection, z64, p64(99))  # type: ignore[arg-type]
    assert (transaction.status, transaction.user, transaction.description) == (
        *("p", b"user"),
        b"description",
    )
    assert transaction.extension == {"a": 1}, "without the mark"
    assert transaction.stored_extension == stored


def test_one_that_is_given_up_is_freed_at_the_server() -> None:
    connection = Connection((True, NUMBER, [about(1), record(1)]), (NUMBER, [None, about(2)]))
    transactions: Any = read_log(connection, z64, p64(99))  # type: ignore[arg-type]
    next(transactions)
    transactions.close()
    del transactions
    assert connection.freed == [(connection, NUMBER)]


def test_a_lost_connection() -> None:
    connection = Connection((True, NUMBER, [about(1), None]), ClientDisconnected("gone"))
    transactions = read_log(connection, z64, p64(99))  # type: ignore[arg-type]
    assert next(transactions).tid == p64(1)
    with pytest.raises(ClientDisconnected):
        next(transactions)
    with pytest.raises(StopIteration):
        next(transactions)


@pytest.mark.parametrize(
    "answers",
    [
        [None],
        [(True, None)],
        [(True, None, [about(1)[:4], None])],
        [(True, None, [None])],
        [(True, None, [7])],
        [(True, None, [about(1), record(1)[:3], None])],
        [(True, None, [about(1), 7, None])],
        [(True, None, [about(1), record(1)])],
        [(True, NUMBER, [about(1), None]), 7],
        [(True, NUMBER, [about(1), None]), (True, NUMBER, [])],
    ],
)
def test_what_no_server_of_ours_sends(answers: list[Any]) -> None:
    with pytest.raises(UnrecognizedResult):
        log(Connection(*answers))


@pytest.mark.parametrize(("since", "start"), [(z64, None), (p64(5), p64(6))])
def test_servers_that_send_no_batches(
    since: bytes, start: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = Connection(capabilities=())
    found: list[Any] = []
    monkeypatch.setattr(batches, "transactions", lambda *args: found.append(args) or "others")
    assert read_log(connection, since, p64(99)) == "others"  # type: ignore[arg-type,comparison-overlap]
    assert found == [(connection, start, p64(99))]
    assert connection.asked == []
