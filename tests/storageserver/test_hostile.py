"""Whatever a peer sends, it is dropped, and everybody else is served."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from ZODB.utils import z64

import zeotwisted
from zeotwisted.protocol.framing import encode_frame

from .conftest import TIMEOUT, RawClient

LATEST = b"\x7f" + b"\xff" * 7


@pytest.fixture
def address(serve: Callable[..., Any]) -> Any:
    return serve(zeo_conf={"message_limit": "100KB"})


def still_serves(address: Any) -> bool:
    """Commit and read with a well-behaved client."""
    db = zeotwisted.DB(address)
    try:
        connection = db.open()
        connection.root()["x"] = 1
        connection.transaction_manager.commit()
        return bool(db.storage.loadBefore(z64, LATEST))
    finally:
        db.close()


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        encode_frame(b"Z4"),
        encode_frame(b"M7"),
        encode_frame(b"Z6"),
        encode_frame(b"x" * 4000),
    ],
)
def test_not_a_zeo_client(address: Any, greeting: bytes) -> None:
    peer = RawClient(address, shake_hands=False)
    peer.socket.sendall(greeting)
    assert peer.is_dropped()
    assert still_serves(address)


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("no_such_call", ()),
        ("__init__", ()),
        ("remote_ping", ()),
        ("call", ()),
        ("lost", ()),
        ("loadBefore\0", (z64, z64)),
    ],
)
@pytest.mark.parametrize("oneway", [True, False])
def test_unknown_call(address: Any, name: str, args: tuple[Any, ...], oneway: bool) -> None:
    peer = RawClient(address)
    peer.ask("register", "1", False)
    frame = peer.session.oneway(name, *args) if oneway else peer.session.call(9, name, *args)
    peer.socket.sendall(frame)
    assert peer.is_dropped()
    assert still_serves(address)


@pytest.mark.parametrize("name", ["loadBefore", "get_info", "server_status", "tpc_begin", "vote"])
def test_call_before_register(address: Any, name: str) -> None:
    peer = RawClient(address)
    peer.socket.sendall(peer.session.call(9, name))
    assert peer.is_dropped()
    assert still_serves(address)


def test_second_register(address: Any) -> None:
    peer = RawClient(address)
    peer.ask("register", "1", False)
    peer.socket.sendall(peer.session.call(9, "register", "1", False))
    assert peer.is_dropped()
    assert still_serves(address)


def test_two_registers_at_once(address: Any) -> None:
    peer = RawClient(address)
    call = peer.session.call(9, "register", "1", False)
    peer.socket.sendall(call + call)
    peer.is_dropped()
    peer.close()
    assert still_serves(address)


@pytest.mark.parametrize(
    ("registered", "size"),
    [(False, 4097), (True, 100 * 1024 + 1), (True, 2**31), (False, 2**32 - 1), (True, 2**32 - 1)],
)
def test_message_over_the_limit(address: Any, size: int, registered: bool) -> None:
    peer = RawClient(address)
    if registered:
        peer.ask("register", "1", False)
    peer.socket.sendall(struct.pack(">I", size) + b"x" * 1000)
    assert peer.is_dropped()
    assert still_serves(address)


@pytest.mark.parametrize("payload", [b"", b"\xff" * 20, b"\x94\x01\x00\xa1x", b"\x93\x01\x02\x03"])
def test_undecodable_message(address: Any, payload: bytes) -> None:
    peer = RawClient(address)
    peer.ask("register", "1", False)
    peer.socket.sendall(encode_frame(payload))
    assert peer.is_dropped()
    assert still_serves(address)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("storea", b"\x91\xdd\0\1\x00\x00" + b"\1" * 2**16),
        ("tpc_begin", b"\x94\1\xa0\xa0\x81\xa1a\xdd\0\1\x10\x00" + b"\x80" * 70_000),
        ("iterator_gc", b"\x91\xdd\0\1\x10\x00" + b"\1" * 70_000),
    ],
)
def test_message_of_too_many_values(address: Any, name: str, arguments: bytes) -> None:
    peer = RawClient(address)
    peer.ask("register", "1", False)
    head = b"\x94\0\1" + bytes([0xA0 + len(name)]) + name.encode()
    peer.socket.sendall(encode_frame(head + arguments))
    assert peer.is_dropped()
    assert still_serves(address)


def test_wrong_arguments_are_refused(address: Any) -> None:
    peer = RawClient(address)
    peer.ask("register", "1", False)
    with pytest.raises(TypeError, match="loadBefore"):
        peer.ask("loadBefore", "text", 7)
    with pytest.raises(TypeError, match="pack"):
        peer.ask("pack", "now")
    peer.socket.sendall(peer.session.oneway("storea", 1, 2, 3, 4))
    assert peer.is_dropped()
    assert still_serves(address)


def test_answer_to_no_call(address: Any) -> None:
    peer = RawClient(address)
    peer.ask("register", "1", False)
    peer.socket.sendall(peer.session.reply(77, None))
    assert peer.is_dropped()
    assert still_serves(address)


def test_dropped_client_holds_no_lock(address: Any) -> None:
    peer = RawClient(address)
    peer.ask("register", "1", False)
    peer.socket.sendall(peer.session.oneway("tpc_begin", 1, "", "", {}))
    peer.ask("vote", 1)
    peer.socket.sendall(b"\0\0\0\x01\xff")
    assert peer.is_dropped()
    assert still_serves(address)


def test_client_that_does_not_read(address: Any) -> None:
    """It asks for much and takes nothing: the daemon stops listening to it."""
    db = zeotwisted.DB(address)
    connection = db.open()
    connection.root()["x"] = "x" * 50_000
    connection.transaction_manager.commit()
    connection.close()
    peer = RawClient(address)
    peer.ask("register", "1", False)
    peer.socket.settimeout(1)
    calls = b"".join(peer.session.call(n, "loadBefore", z64, LATEST) for n in range(1000))
    with pytest.raises(TimeoutError):
        while True:
            peer.socket.sendall(calls)
    # What both ends' sockets take, and little more; each piece that is read asks for 80 MB.
    assert db.storage.server_status()["loads"] < 1000
    peer.close()
    db.close()
    assert still_serves(address)


def test_client_that_never_registers(serve: Callable[..., Any]) -> None:
    """Whoever connects and says nothing costs a socket, and not for ever; see test_deadline."""
    address = serve()
    idle = [socket.create_connection(address, TIMEOUT) for _ in range(50)]
    assert still_serves(address)
    for sock in idle:
        sock.close()


def test_client_that_neither_reads_nor_speaks(serve: Callable[..., Any]) -> None:
    """The daemon has stopped listening to it, and does not wait for ever."""
    address = serve(zeo_conf={"client_timeout": "3"})
    db = zeotwisted.DB(address)
    connection = db.open()
    connection.root()["x"] = "x" * 50_000
    connection.transaction_manager.commit()
    connection.close()
    peer = RawClient(address)
    peer.ask("register", "1", False)
    calls = b"".join(peer.session.call(n, "loadBefore", z64, LATEST) for n in range(1000))
    with pytest.raises(ConnectionError):
        while True:
            peer.socket.sendall(calls)
    # The peer may hear of it before the daemon has forgotten it.
    while db.storage.server_status()["connections"] > 1:
        pass
    peer.close()
    db.close()
