"""What ``docs/reference/protocol.rst`` says about stock servers, asked of one."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from ZEO.StorageServer import StorageServer
from ZODB.MappingStorage import MappingStorage

from zeotwisted.protocol.framing import encode_frame
from zeotwisted.protocol.session import ClientHandshake, Failed, HandshakeDone, Replied, Session

from . import examples


class Peer:
    """A blocking connection that is driven by a `Session`."""

    def __init__(self, address: tuple[str, int], answer: bytes | None = None) -> None:
        self.socket = socket.create_connection(address, timeout=30)
        self.session = Session(ClientHandshake())
        self.announced = self.frame()
        self.events: list[Any] = []
        if answer is None:
            events = list(self.session.receive(encode_frame(self.announced)))
            assert isinstance(events[0], HandshakeDone)
            self.socket.sendall(self.session.greeting)
        else:
            list(self.session.receive(encode_frame(answer)))
            self.socket.sendall(encode_frame(answer))

    def bytes(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def frame(self) -> bytes:
        return self.bytes(struct.unpack(">I", self.bytes(4))[0])

    def call(self, name: str, *args: Any) -> Any:
        self.socket.sendall(self.session.call(1, name, *args))
        (event,) = self.session.receive(encode_frame(self.frame()))
        return event

    def register(self, read_only: bool = False) -> None:
        assert isinstance(self.call("register", "1", read_only), Replied)
        self.session.registered()

    def is_closed(self) -> bool:
        """Tell whether the server hangs up; a server that does not makes this time out."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True


@pytest.fixture(params=[False, True], ids=["Z5", "M5"])
def msgpack(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def address(msgpack: bool) -> Iterator[tuple[str, int]]:
    server = StorageServer(("127.0.0.1", 0), {"1": MappingStorage()}, msgpack=msgpack)
    server.start_thread()
    yield server.addr
    server.close()


def test_announcement(address: tuple[str, int], msgpack: bool) -> None:
    assert Peer(address).announced == (b"M5" if msgpack else b"Z5")


@pytest.mark.parametrize("answer", [b"Z5", b"M5"])
def test_the_answer_decides_the_encoding(address: tuple[str, int], answer: bytes) -> None:
    peer = Peer(address, answer)
    peer.register()
    assert peer.call("lastTransaction") == Replied(1, b"\0" * 8)


def test_version_6_is_unknown_to_it(address: tuple[str, int]) -> None:
    assert Peer(address, b"M6").is_closed()


def test_status_request(address: tuple[str, int]) -> None:
    peer = Peer(address)
    monitor = socket.create_connection(address, timeout=30)
    peer.socket.close()
    peer.socket = monitor
    peer.frame()
    monitor.sendall(encode_frame(b"ruok"))
    status = json.loads(peer.frame().decode("ascii"))
    assert set(status) == {"1"}
    assert set(status["1"]) == set(examples.REPLIES["server_status"])
    assert peer.is_closed()


def test_server_status(address: tuple[str, int]) -> None:
    peer = Peer(address)
    peer.register()
    status = peer.call("server_status").value
    expected = examples.REPLIES["server_status"]
    assert set(status) == set(expected)
    for key, value in expected.items():
        if key not in ("lock_time", "timeout-thread-is-alive"):
            assert type(status[key]) is type(value), key
    assert status["timeout-thread-is-alive"] == "stub"


def test_get_info(address: tuple[str, int]) -> None:
    peer = Peer(address)
    peer.register()
    info = peer.call("get_info").value
    assert set(info) == set(examples.REPLIES["get_info"])


@pytest.mark.parametrize("name", ["lastTransaction", "nothing"])
def test_calls_before_register_end_the_connection(address: tuple[str, int], name: str) -> None:
    peer = Peer(address)
    peer.socket.sendall(peer.session.call(1, name))
    assert peer.is_closed()


def test_a_second_register_ends_the_connection(address: tuple[str, int]) -> None:
    peer = Peer(address)
    peer.register()
    peer.socket.sendall(peer.session.call(1, "register", "1", False))
    assert peer.is_closed()


def test_an_unknown_storage(address: tuple[str, int]) -> None:
    event = Peer(address).call("register", "2", False)
    assert isinstance(event, Failed)
    assert event.error.args[0] == "builtins.ValueError"


def test_new_oid_does_not_exist(address: tuple[str, int]) -> None:
    peer = Peer(address)
    peer.register()
    event = peer.call("new_oid")
    assert isinstance(event, Failed)
    assert event.error.args[0] == "builtins.AttributeError"


@pytest.mark.parametrize(("asked", "given"), [((), 100), ((3,), 3), ((0,), 1), ((1000,), 100)])
def test_new_oids(address: tuple[str, int], asked: tuple[int, ...], given: int) -> None:
    peer = Peer(address)
    peer.register()
    assert len(peer.call("new_oids", *asked).value) == given


def test_keep_alive_is_ignored(address: tuple[str, int]) -> None:
    peer = Peer(address)
    peer.socket.sendall(peer.session.keep_alive())
    peer.register()
    peer.socket.sendall(peer.session.keep_alive())
    assert peer.call("ping") == Replied(1, None)


def test_a_transaction(address: tuple[str, int]) -> None:
    peer = Peer(address)
    peer.register()
    send = peer.socket.sendall
    send(peer.session.oneway("tpc_begin", 5, b"", b"", {}))
    # The same transaction again is ignored.
    send(peer.session.oneway("tpc_begin", 5, b"", b"", {}))
    send(peer.session.oneway("storea", examples.OID, b"\0" * 8, examples.DATA, 5))
    assert list(peer.call("vote", 5).value) == []
    event = peer.call("vote", 5)
    assert type(event.error).__name__ == "StorageTransactionError"
    # What the committing client gets first is the push of the storage's new size.
    push = peer.call("tpc_finish", 5)
    assert push.call.name == "info"
    (reply,) = peer.session.receive(encode_frame(peer.frame()))
    assert peer.call("lastTransaction").value == reply.value
    assert peer.call("tpc_finish", 5) == Replied(1, None)
    assert peer.call("tpc_abort", 5) == Replied(1, None)
    assert type(peer.call("vote", 5).error).__name__ == "StorageTransactionError"


@pytest.mark.parametrize("read_only", [False, True])
def test_a_one_way_call_that_fails_ends_the_connection(
    address: tuple[str, int], read_only: bool
) -> None:
    peer = Peer(address)
    peer.register(read_only)
    peer.socket.sendall(peer.session.oneway("tpc_begin", 5, b"", b"", {}))
    if not read_only:
        peer.socket.sendall(peer.session.oneway("tpc_begin", 6, b"", b"", {}))
    assert peer.is_closed()


def test_readers_get_no_oids(address: tuple[str, int]) -> None:
    peer = Peer(address)
    peer.register(True)
    assert type(peer.call("new_oids").error).__name__ == "ReadOnlyError"


def test_invalidations_of_an_up_to_date_client(address: tuple[str, int]) -> None:
    peer = Peer(address)
    peer.register()
    tid, oids = peer.call("getInvalidations", b"\0" * 8).value
    assert (tid, list(oids)) == (b"\0" * 8, [])


def test_an_unknown_iterator(address: tuple[str, int]) -> None:
    peer = Peer(address)
    peer.register()
    assert type(peer.call("iterator_next", 77).error) is KeyError
