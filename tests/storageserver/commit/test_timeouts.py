"""A transaction holds the commit lock, or waits for it, for a limited time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from transaction.interfaces import TransientError
from twisted.logger import formatEvent, globalLogPublisher
from ZODB.MappingStorage import MappingStorage

from tests.ordering.puppets import OID_A, OID_B, PuppetClient, Server
from zeotwisted.exceptions import ServerException, TransactionTimeout


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The lines of the log."""
    found: list[str] = []

    def observe(event: Any) -> None:
        text = formatEvent(event)
        if text:
            found.append(text)

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def holder(server: Server, protocol: bytes = b"") -> PuppetClient:
    """Return a client that has voted and does not go on."""
    client = server.client(protocol=protocol)
    client.tell("set_client_label", "slow")
    client.tell("tpc_begin", 1, "anna", "/edit", {})
    client.tell("storea", OID_A, b"\0" * 8, b"x" * 1000, 1)
    client.ask("vote", 1)
    return client


def waiting(server: Server, label: str) -> PuppetClient:
    """Return a client that waits for the commit lock, with the transaction 2."""
    client = server.client()
    client.tell("set_client_label", label)
    client.begin(2, OID_B)
    client.send("vote", 2)
    assert server.served.lock.waiting
    return client


def test_a_holder_is_aborted_and_told() -> None:
    server = Server(transaction_timeout=10, client_timeout=0)
    slow = holder(server)
    other = waiting(server, "other")
    server.clock.advance(9)
    assert other.received() == []
    server.clock.advance(2)
    ((kind, _, _),) = other.received()
    assert kind == "reply"
    assert not slow.dropped
    with pytest.raises(TransactionTimeout, match="for more than 10 seconds after its vote") as told:
        slow.ask("tpc_finish", 1)
    assert isinstance(told.value, TransientError)
    assert slow.ask("tpc_abort", 1) is None
    other.ask("tpc_finish", 2)
    assert slow.commit(3, OID_A), "the connection is as good as before"
    assert not server.clock.getDelayedCalls()


def test_a_new_transaction_may_begin_without_an_abort() -> None:
    server = Server(transaction_timeout=10)
    slow = holder(server)
    server.clock.advance(11)
    assert slow.commit(2, OID_A)


def test_what_it_stores_afterwards_is_refused() -> None:
    server = Server(transaction_timeout=10)
    slow = holder(server)
    server.clock.advance(11)
    slow.tell("storea", OID_A, b"\0" * 8, b"late", 1)
    # Only a client that breaks the rules stores after its vote.
    assert slow.dropped
    assert server.storage.lastTransaction() == b"\0" * 8


def test_the_log_names_everybody(lines: list[str]) -> None:
    server = Server(transaction_timeout=10)
    holder(server)
    waiting(server, "first")
    server.clock.advance(4)
    waiting(server, "second")
    server.clock.advance(7)
    (line,) = [line for line in lines if "Transaction timeout" in line]
    (tid,) = re.findall("its transaction ([0-9a-f]{16}) of", line)
    assert line == (
        "(slow 127.0.0.1:1) Transaction timeout after 10 seconds: it held the commit lock of "
        f"storage '1' for longer; its transaction {tid} of user 'anna' ('/edit') began 11 "
        "seconds ago and changes 1 objects by 1080 bytes; waiting for it: first 127.0.0.1:1 for 11 "
        "seconds, second 127.0.0.1:1 for 7 seconds"
    )


def test_the_log_names_some_of_many(lines: list[str]) -> None:
    server = Server(transaction_timeout=10)
    holder(server)
    for number in range(9):
        waiting(server, f"client{number}")
    server.clock.advance(10)
    (line,) = [line for line in lines if "Transaction timeout" in line]
    assert line.endswith("client4 127.0.0.1:1 for 10 seconds and 4 more")


def test_the_log_when_nobody_waits(lines: list[str]) -> None:
    server = Server(transaction_timeout=10)
    holder(server)
    server.clock.advance(10)
    (line,) = [line for line in lines if "Transaction timeout" in line]
    assert line.endswith("no other transaction waits")


def test_work_of_the_server_does_not_count() -> None:
    """A vote or a finish may take long, and the client can do nothing about it."""
    server = Server(transaction_timeout=10)
    server.commits.immediate = False
    client = server.client()
    client.tell("tpc_begin", 1, "", "", {})
    for _ in range(100):
        client.tell("storea", OID_A, b"\0" * 8, b"x", 1)
    client.send("vote", 1)
    server.clock.advance(100)
    server.commits.work()
    server.clock.advance(9)
    client.send("tpc_finish", 1)
    server.clock.advance(100)
    server.commits.work()
    assert [kind for kind, *_ in client.received()] == ["reply", "reply"]


@pytest.mark.parametrize("protocol", [b"", b"M5"])
def test_an_abort_that_the_client_has_asked_for_does_not_count(
    protocol: bytes, lines: list[str]
) -> None:
    server = Server(transaction_timeout=10)
    client = holder(server, protocol)
    server.commits.immediate = False
    abort = client.send("tpc_abort", 1)
    server.clock.advance(11)
    assert not client.dropped
    server.commits.work()
    assert client.received() == [("reply", abort, None)]
    assert not any("Transaction timeout" in line for line in lines)


def test_no_limit() -> None:
    server = Server(transaction_timeout=0)
    slow = holder(server)
    server.clock.advance(1e6)
    assert slow.ask("tpc_finish", 1)


def test_an_abort_that_takes_long() -> None:
    """The client finishes while the server aborts."""

    class Slow(MappingStorage):
        pass

    server = Server(Slow(), transaction_timeout=10)
    slow = holder(server)
    server.commits.immediate = False
    server.clock.advance(11)
    with pytest.raises(TransactionTimeout):
        slow.ask("tpc_finish", 1)
    server.commits.work()
    server.commits.immediate = True
    assert slow.commit(2, OID_A)


def test_a_vote_that_waits_for_a_limited_time() -> None:
    server = Server()
    slow = holder(server)
    server.clock.advance(3)
    other = server.client()
    other.begin(2, OID_B)
    vote = other.send("vote_within", 2, 5)
    server.clock.advance(4)
    assert other.received() == []
    server.clock.advance(1)
    ((kind, id, error),) = other.received()
    assert (kind, id, type(error)) == ("error", vote, TransactionTimeout)
    assert str(error) == (
        "the transaction has waited 5 seconds for the commit lock of storage '1', which slow "
        "127.0.0.1:1 (user 'anna') has held for 8 seconds"
    )
    assert other.ask("tpc_abort", 2) is None
    slow.ask("tpc_finish", 1)
    assert not server.served.lock.holders
    other.begin(3, OID_B)
    other.ask("vote_within", 3, 5)
    server.clock.advance(6)
    assert other.ask("tpc_finish", 3), "only the wait is limited"


def test_giving_up_leaves_the_order_of_the_others() -> None:
    server = Server()
    slow = holder(server)
    first, impatient, second = waiting(server, "first"), server.client(), waiting(server, "second")
    impatient.begin(2, OID_B)
    impatient.send("vote_within", 2, 1)
    server.clock.advance(1)
    slow.ask("tpc_finish", 1)
    assert "reply" in [kind for kind, *_ in first.received()]
    assert {kind for kind, *_ in second.received()} == {"invalidateTransaction"}
    first.ask("tpc_finish", 2)
    # The first one has changed the same object.
    assert "error" in [kind for kind, *_ in second.received()]


def test_a_lost_client_that_waited_for_a_limited_time() -> None:
    server = Server()
    slow = holder(server)
    other = server.client()
    other.begin(2, OID_B)
    other.send("vote_within", 2, 5)
    other.lose()
    server.clock.advance(10)
    slow.ask("tpc_finish", 1)
    assert not server.served.lock.holders
    assert not server.served.lock.waiting


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e300])
def test_times_that_make_no_sense(seconds: float) -> None:
    client = Server().client()
    client.begin(1, OID_A)
    with pytest.raises(ServerException, match="is no number of seconds"):
        client.ask("vote_within", 1, seconds)
