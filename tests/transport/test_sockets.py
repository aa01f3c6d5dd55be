"""What Twisted's transports do not offer."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.python.failure import Failure

from tests.clientstorage.support import InThread
from zeotwisted.transport.sockets import (
    LARGE_READ,
    SMALL_READ,
    DirectSender,
    DirectWriter,
    ReadSize,
)


class Above:
    """Something that is stacked on a transport."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport


def test_more_is_read_at_a_time_while_much_comes() -> None:
    ours, theirs = socket.socketpair()
    transport = Connection(ours, Protocol(), MemoryReactor())
    read_size = ReadSize(Above(transport))
    sizes = []
    for received in (100, SMALL_READ, LARGE_READ, LARGE_READ // 2, 100, 100):
        read_size.received(received)
        sizes.append(transport.bufferSize)
    assert sizes == [SMALL_READ, LARGE_READ, LARGE_READ, LARGE_READ, SMALL_READ, SMALL_READ]
    # What has gone through TLS is a little less than what was read.
    read_size.received(SMALL_READ - 100)
    assert transport.bufferSize == LARGE_READ
    ours.close()
    theirs.close()


def test_transports_that_are_no_sockets_read_as_they_like() -> None:
    ReadSize(StringTransport()).received(LARGE_READ)


PIECES = [b"a", b"", b"b" * 3_000_000, *(b"%d" % number for number in range(100)), b"c" * 10**6]


def test_pieces_arrive_in_their_order() -> None:
    ours, theirs = socket.socketpair()
    sender = DirectSender(ours)
    sending = InThread(sender.send_waiting, PIECES)
    expected = b"".join(PIECES)
    with theirs.makefile("rb") as stream:
        assert stream.read(len(expected)) == expected
    assert sending.result() == b""
    assert sender.sent == len(expected)
    for each in (sender, ours, theirs):
        each.close()


def test_who_waits_for_a_connection_that_ends_finds_out() -> None:
    ours, theirs = socket.socketpair()
    sender = DirectSender(ours)
    sending = InThread(sender.send_waiting, PIECES)
    # It cannot be over, as nobody reads all of that.
    theirs.recv(10)
    sender.shut_down()
    left = sending.result()
    assert left and b"".join(PIECES).endswith(left)
    for each in (sender, ours, theirs):
        each.close()


def test_who_writes_may_not_have_heard_that_the_connection_is_lost() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        transport = Connection(ours, Protocol(), MemoryReactor())
        transport.connected = 1
        writer = DirectWriter(transport)
        transport.connectionLost(Failure(ConnectionLost()))
        writer.write(b"data")
