"""`read_log` of the feed: how it puts transactions together, in both versions of the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from ZODB.blob import Blob
from ZODB.serialize import ObjectWriter
from ZODB.utils import p64, z64

from zeotwisted.clientstorage.feed import (
    anything,
    nothing_unknown,
    packed_only,
    read_log,
)
from zeotwisted.exceptions import ClientDisconnected, NotInHistory, UnrecognizedResult
from zeotwisted.protocol import CHANGES

NUMBER = 7


def about(tid: int, extension: Any = b"", status: Any = " ") -> tuple[Any, ...]:
    """Return the item that begins a transaction."""
    return p64(tid), status, b"user", b"description", extension


class Connection:
    """A connection to a server that answers so.

    :ivar asked: the calls, and the ones that need no answer.
    """

    is_open = True

    def __init__(self, *answers: Any, capabilities: Sequence[str] = (CHANGES,)) -> None:
        self.capabilities = capabilities
        self.asked: list[tuple[Any, ...]] = []
        self._answers = list(answers)

    def request(self, name: str, *args: Any) -> Deferred[Any]:
        self.asked.append((name, *args))
        answer = self._answers.pop(0)
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    def oneway(self, name: str, *args: Any) -> None:
        self.asked.append((name, *args))

    @property
    def names(self) -> list[str]:
        return [name for name, *_ in self.asked]


def stock(*answers: Any) -> Connection:
    return Connection(*answers, capabilities=())


def read(connection: Any, since: bytes = z64, most: int = 99, **options: Any) -> list[Any]:
    """Return the transactions, or the first of them."""

    async def collected() -> list[Any]:
        found = []
        log: Any = read_log(connection, since, p64(99), **options)
        try:
            async for transaction in log:
                found.append(transaction)
                if len(found) == most:
                    break
        finally:
            await log.aclose()
        return found

    done: list[Any] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(collected()).addCallbacks(done.append, failures.append)
    if failures:
        failures[0].raiseException()
    (found,) = done
    return list(found)


def test_transactions_go_on_in_the_next_batch() -> None:
    connection = Connection(
        (True, NUMBER, [about(1), (p64(1), None, b"data", False)]),
        (NUMBER, [(p64(2), p64(1), None, True), None, about(2, b"x")]),
        (None, [None]),
    )
    first, second = read(connection, p64(5), records=True)
    assert connection.asked == [
        ("changes_start", p64(5), p64(99), True),
        *[("changes_next", NUMBER)] * 2,
    ]
    assert (first.tid, first.status, first.user) == (p64(1), " ", b"user")
    assert list(first.records) == [
        (p64(1), b"data", None, False),
        (p64(2), None, p64(1), True),
    ]
    assert (second.tid, second.oids, second.stored_extension) == (p64(2), [], b"x")


def test_records_are_not_kept_if_nobody_wants_them() -> None:
    connection = Connection((True, None, [about(1), (p64(1), None, None, False), None]))
    (transaction,) = read(connection)
    assert connection.asked == [("changes_start", z64, p64(99), False)]
    assert transaction.oids == [p64(1)] and transaction.records is None


@pytest.mark.parametrize("status", [" ", "p", b"p", None])
@pytest.mark.parametrize("accept", [nothing_unknown, packed_only, anything])
def test_a_position_that_is_not_there(status: Any, accept: Any) -> None:
    items = [] if status is None else [about(6, status=status), None]
    connection = Connection((False, None if status is None else NUMBER, items), (None, []))
    packed = status in ("p", b"p")
    if accept is anything or (accept is packed_only and packed):
        assert len(read(connection, p64(5), accept=accept)) == (status is not None)
        return
    with pytest.raises(NotInHistory) as caught:
        read(connection, p64(5), accept=accept)
    assert (caught.value.tid, caught.value.packed) == (p64(5), packed)
    freed = [] if status is None else [("iterator_gc", [NUMBER])]
    assert connection.asked[1:] == freed


def test_one_that_is_given_up_is_freed_at_the_server() -> None:
    connection = Connection((True, NUMBER, [about(1), None, about(2), None]))
    assert [each.tid for each in read(connection, most=1)] == [p64(1)]
    assert connection.asked[1:] == [("iterator_gc", [NUMBER])]


def test_nothing_is_said_on_a_lost_connection() -> None:
    connection = Connection((True, NUMBER, [about(1), None]), ClientDisconnected("gone"))
    connection.is_open = False
    with pytest.raises(ClientDisconnected):
        read(connection)
    assert connection.names == ["changes_start", "changes_next"]


@pytest.mark.parametrize(
    "answers",
    [
        [None],
        [(True, None)],
        [(True, None, [about(1)[:4], None])],
        [(True, None, [None])],
        [(True, None, [about(1), (p64(1), None, b"data"), None])],
        [(True, None, [about(1), (p64(1), None, b"data", False)])],
        [(True, NUMBER, [about(1), None]), 7],
        [(True, NUMBER, [about(1), None]), (True, NUMBER, [])],
    ],
)
def test_what_no_server_of_ours_sends(answers: list[Any]) -> None:
    connection = Connection(*answers)
    with pytest.raises(UnrecognizedResult):
        read(connection, records=True)


def test_servers_that_send_no_batches() -> None:
    blob = bytes(ObjectWriter().serialize(Blob()))
    connection = stock(
        *(4, about(5), about(6, {"a": 1}), 8),
        (p64(1), p64(6), blob, None),
        (p64(2), p64(6), None, p64(1)),
        *(None, None),
    )
    (transaction,) = read(connection, p64(5), records=True)
    assert transaction.tid == p64(6), "the one at the position is not new"
    assert transaction.extension == {"a": 1}
    assert list(transaction.records) == [
        (p64(1), blob, None, True),
        (p64(2), None, p64(1), False),
    ]
    assert connection.asked[0] == ("iterator_start", p64(5), p64(99))
    assert connection.asked[3] == ("iterator_record_start", 4, p64(6))
    assert "iterator_gc" not in connection.names, "the server frees both at their ends"


def test_the_beginning_of_a_server_without_batches() -> None:
    connection = stock(4, about(1), 8, None, None)
    assert [each.tid for each in read(connection)] == [p64(1)]
    assert connection.asked[0] == ("iterator_start", None, p64(99))


@pytest.mark.parametrize("first", [None, about(6), about(6, status="p")])
def test_a_position_that_is_not_there_without_batches(first: Any) -> None:
    connection = stock(4, first)
    with pytest.raises(NotInHistory) as caught:
        read(connection, p64(5))
    assert caught.value.packed == (first is not None and first[1] == "p")
    assert connection.asked[2:] == [("iterator_gc", [4])]


def test_both_iterators_are_freed_after_a_failure() -> None:
    connection = stock(4, about(1), 8, ValueError("a record cannot be read"))
    with pytest.raises(ValueError, match="cannot be read"):
        read(connection)
    assert connection.asked[4:] == [("iterator_gc", [8]), ("iterator_gc", [4])]
