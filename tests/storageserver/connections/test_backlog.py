"""What happens to a client that does not take what it is sent."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.testing import StringTransport

from zeotwisted.storageserver.connections.backlog import Backlog


class Client:
    """A backlog with small limits, and what it has done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.transport = StringTransport()
        self.backlog = Backlog(
            self.transport,
            lambda: self.done.append("pause"),
            lambda: self.done.append("resume"),
            lambda reason: self.done.append(f"drop: {reason}"),
            pause_at=100,
            drop_at=1000,
        )


@pytest.fixture
def client() -> Client:
    return Client()


def test_client_that_keeps_up_is_left_alone(client: Client) -> None:
    for _ in range(1000):
        client.backlog.write(b"x" * 100)
    assert client.done == []
    assert len(client.transport.value()) == 100_000


def test_what_is_held_back_leaves_together(client: Client) -> None:
    pieces: list[bytes] = []
    client.transport.write = pieces.append  # type: ignore[method-assign]
    client.backlog.hold()
    client.backlog.write(b"one ")
    client.backlog.write(b"two ")
    assert pieces == []
    client.backlog.flush()
    client.backlog.write(b"three ")
    client.backlog.flush()
    assert pieces == [b"one two ", b"three "]


def test_no_more_is_held_back_than_a_socket_takes(client: Client) -> None:
    client.backlog.hold()
    client.backlog.write(b"x" * 65535)
    assert client.transport.value() == b""
    client.backlog.write(b"y")
    assert client.transport.value() == b"x" * 65535 + b"y"
    client.backlog.write(b"z")
    assert client.transport.value().endswith(b"y"), "it goes on holding back"
    client.backlog.flush()
    assert client.transport.value().endswith(b"yz")


def test_reading_pauses_and_resumes(client: Client) -> None:
    client.backlog.pauseProducing()
    client.backlog.write(b"x" * 100)
    assert client.done == [], "it is not over the limit"
    client.backlog.write(b"x")
    client.backlog.write(b"x")
    assert client.done == ["pause"]
    client.backlog.resumeProducing()
    assert client.done == ["pause", "resume"]
    client.backlog.write(b"x" * 10_000)
    assert len(client.done) == 2, "the transport is empty again"


def test_transport_says_at_each_write_that_it_is_full(client: Client) -> None:
    """As Twisted's do."""
    for _ in range(4):
        client.backlog.pauseProducing()
        client.backlog.write(b"x" * 30)
    assert client.done == ["pause"]


def test_client_is_dropped_in_the_end(client: Client) -> None:
    client.backlog.pauseProducing()
    client.backlog.write(b"x" * 2000)
    assert client.done == ["pause"], "one answer may be as long as it likes"
    client.backlog.write(b"x")
    assert client.done == ["pause", "drop: it does not read what it is sent (send-limit 1000)"]


def test_who_sends_much_waits(client: Client) -> None:
    went_on: list[Any] = []
    client.backlog.writable().addCallback(went_on.append)
    assert went_on == [None]
    client.backlog.pauseProducing()
    client.backlog.writable().addCallback(went_on.append)
    assert went_on == [None]
    client.backlog.resumeProducing()
    assert went_on == [None, None]
    client.backlog.pauseProducing()
    client.backlog.writable().addCallback(went_on.append)
    client.backlog.close()
    assert len(went_on) == 3, "the end of the connection must not leave anybody waiting"
