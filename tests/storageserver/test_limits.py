"""Clients that want more than they may have: what they are told, and what others notice."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
import ZEO.asyncio.client
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from ZODB.utils import z64

import zeotwisted
from tests.ordering.puppets import PuppetClient, Server
from zeotwisted.exceptions import ProtocolError
from zeotwisted.protocol.session import ClientHandshake, Session, WireError, refusal
from zeotwisted.storageserver.limits import Usage

from .conftest import RawClient
from .test_hostile import still_serves


def usage(server: Server, key: str) -> Usage:
    return server.limits.report()[key]


# Connections.


def test_refused_client_is_told_at_once(serve: Callable[..., Any]) -> None:
    address = serve(zeo_conf={"connection_limit": "1", "address_limit": "2"})
    db = zeotwisted.DB(address)
    began = time.monotonic()
    with pytest.raises(ProtocolError, match=r"too many connections \(connection-limit 1\)"):
        zeotwisted.client(address, wait_timeout=60)
    assert time.monotonic() - began < 30
    # As soon as there is room, the next one is let in.
    db.close()
    for _ in range(1000):
        try:
            zeotwisted.client(address, wait_timeout=60).close()
            break
        except ProtocolError:
            continue
    else:
        pytest.fail("there is no room")


def test_client_of_zeo_logs_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    class Client:
        def register_failed(self, protocol: Any, error: Exception) -> None:
            raise error

    protocol = ZEO.asyncio.client.Protocol.__new__(ZEO.asyncio.client.Protocol)
    protocol.client = Client()
    frame = refusal("the server has too many connections")[4:]
    with pytest.raises(ZEO.Exceptions.ProtocolError, match="the server has too many connections"):
        protocol.finish_connection(frame)


def test_a_long_reason_fits() -> None:
    session = Session(ClientHandshake())
    with pytest.raises(WireError, match="accepts no connection: ééé"):
        list(session.receive(refusal("é" * 10_000)))


def connect(server: Server, host: str = "10.0.0.1") -> Any:
    protocol = server.factory.buildProtocol(IPv4Address("TCP", host, 1))
    if protocol is not None:
        protocol.makeConnection(StringTransport())
    return protocol


def test_refusals_are_bounded_and_released() -> None:
    server = Server(connection_limit=1)
    server.client()
    refused = [connect(server) for _ in range(40)]
    told = [each for each in refused if each is not None]
    assert len(told) == 32
    assert all(b"connection-limit 1" in each.transport.value() for each in told)
    assert all(each.transport.disconnecting for each in told)
    for each in told:
        each.connectionLost()
    assert usage(server, "connection-limit") == (1, 1, 1, 40)
    assert connect(server) is not None


def test_a_refused_peer_that_stays_is_cut_off() -> None:
    server = Server(connection_limit=1)
    server.client()
    refused = connect(server)
    server.clock.advance(2)
    assert refused.transport.disconnected
    refused.connectionLost()
    assert len(server.clock.getDelayedCalls()) == 1, "the liveness of the client that is there"


def test_lost_connections_make_room() -> None:
    server = Server(connection_limit=2, address_limit=1, unregistered_limit=1)
    first = server.client(register=False)
    assert usage(server, "unregistered-limit").used == 1
    first.ask("register", "1", False)
    assert usage(server, "unregistered-limit").used == 0
    first.lose()
    unregistered = server.client(register=False)
    unregistered.lose()
    for key in ("connection-limit", "address-limit", "unregistered-limit"):
        assert usage(server, key)[0] == 0, key


# Before the registration.


def test_bytes_before_the_registration() -> None:
    server = Server(register_bytes=2**16)
    client = server.client(register=False)
    keep_alive = client._session.keep_alive()
    for _ in range(2**16 // len(keep_alive) - 1):
        client.protocol.dataReceived(keep_alive)
    assert not client.dropped
    client.protocol.dataReceived(keep_alive)
    client.protocol.dataReceived(keep_alive)
    assert client.dropped


def test_bytes_after_the_registration_do_not_count() -> None:
    server = Server(register_bytes=2**16)
    client = server.client()
    for _ in range(2**12):
        client.send("ping")
    assert not client.dropped


# Memory for messages.


def begin_message(client: PuppetClient, size: int) -> None:
    client.protocol.dataReceived(struct.pack(">I", 2**20) + b"x" * size)


def test_memory_of_incomplete_messages() -> None:
    server = Server(message_limit=2**20, message_memory=2**16)
    assert usage(server, "message-memory").most == 2**20, "one message fits in any case"
    clients = [server.client() for _ in range(8)]
    for client in clients:
        begin_message(client, 2**17 - 1)
    assert not any(client.dropped for client in clients)
    assert usage(server, "message-memory") == (2**20 - 8, 2**20, 2**20 - 8, 0)
    clients[3].protocol.dataReceived(b"x" * 9)
    assert [client.dropped for client in clients] == [False] * 3 + [True] + [False] * 4
    for client in clients:
        client.lose()
    assert usage(server, "message-memory") == (0, 2**20, 2**20 + 1, 1)


def test_memory_of_a_message_is_free_when_it_is_complete() -> None:
    server = Server()
    client = server.client()
    frame = client._session.call(77, "ping")
    for byte in frame[:-1]:
        client.protocol.dataReceived(bytes([byte]))
    assert usage(server, "message-memory").used == len(frame) - 5
    client.protocol.dataReceived(frame[-1:])
    assert usage(server, "message-memory").used == 0
    assert client.received() == [("reply", 77, None)]


def test_part_of_a_message_that_was_put_off() -> None:
    server = Server()
    client = server.client()
    client.protocol._backlog.pauseProducing()
    client.protocol._backlog.write(b"x" * 2**21)
    begin_message(client, 1000)
    client.protocol._backlog.resumeProducing()
    server.clock.advance(0)
    assert usage(server, "message-memory").used == 1000


# Bytes that a client does not take.


def test_memory_of_what_clients_do_not_take() -> None:
    server = Server(send_memory=2**16)
    clients = [server.client() for _ in range(3)]
    writer = server.client()
    for client in clients:
        client.protocol._backlog.pauseProducing()
    clients[1].protocol._backlog.write(b"x" * 20_000)
    oids = [number.to_bytes(8, "big") for number in range(1, 1001)]
    serial = z64
    for number in range(3):
        serial = writer.commit(number, *oids, serial=serial)
    assert [client.dropped for client in clients] == [False, True, False]
    for client in clients[:2]:
        client.lose()
    used = usage(server, "send-memory").used
    assert 30_000 < used < 2**16
    clients[2].protocol._backlog.resumeProducing()
    assert usage(server, "send-memory").used == 0
    assert usage(server, "send-memory").struck == 1


def test_a_crowd_of_half_messages_harms_nobody(serve: Callable[..., Any]) -> None:
    address = serve(zeo_conf={"message_limit": "1MB", "message_memory": "2MB"})
    peers = [RawClient(address) for _ in range(10)]
    for peer in peers:
        peer.ask("register", "1", False)
        peer.socket.sendall(struct.pack(">I", 2**20) + b"x" * 300_000)
    assert sum(is_closed(peer.socket) for peer in peers) >= 3
    assert still_serves(address)
    for peer in peers:
        peer.close()


def is_closed(sock: socket.socket) -> bool:
    """Return whether the server has closed the connection, or closes it before a ping's answer."""
    sock.settimeout(0.2)
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


def test_unregistered_limit_of_a_real_server(serve: Callable[..., Any]) -> None:
    address = serve(zeo_conf={"unregistered_limit": "3"})
    idle = [RawClient(address, shake_hands=False) for _ in range(3)]
    for peer in idle:
        peer.receive()
    refused = RawClient(address, shake_hands=False)
    with pytest.raises(WireError, match=r"registration \(unregistered-limit 3\)"):
        refused.receive()
    for peer in [*idle, refused]:
        peer.close()
