"""What monitoring tools see, compared with stock ZEO."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZEO
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

import zeotwisted
from zeotwisted.storageserver.connections import StorageServerFactory
from zeotwisted.storageserver.options import ServerOptions

from .conftest import TIMEOUT


def ruok(address: tuple[str, int]) -> dict[str, Any]:
    """Ask as ZEO's own monitoring script does."""
    with socket.create_connection(address, TIMEOUT) as peer:
        peer.sendall(struct.pack(">I", 4) + b"ruok")
        with peer.makefile("rb") as stream:
            (size,) = struct.unpack(">I", stream.read(4))
            assert stream.read(size) in (b"Z5", b"Z6")
            (size,) = struct.unpack(">I", stream.read(4))
            status = json.loads(stream.read(size))
            assert stream.read() == b"", "the daemon ends the connection"
            return status


def test_ruok_has_the_fields_of_zeo(serve: Callable[..., Any], tmp_path: Path) -> None:
    # Without a limit, as ZEO's default is.
    ours = serve(str(tmp_path / "ours.fs"), zeo_conf={"transaction_timeout": "0"})
    theirs, stop = ZEO.server(str(tmp_path / "theirs.fs"), threaded=False)
    try:
        statuses = []
        for address, package in ((ours, zeotwisted), (theirs, ZEO)):
            db = package.DB(address)
            with db.transaction() as connection:
                connection.root()["x"] = 1
            status = ruok(address)["1"]
            asked = list(db.storage.server_status())
            assert asked == list(status) + (
                ["probes", "health-checks"] if package is zeotwisted else []
            )
            stock_client = ZEO.DB(address)
            assert list(stock_client.storage.server_status()) == list(status)
            stock_client.close()
            db.close()
            statuses.append(status)
    finally:
        stop()
    mine, stock = statuses
    assert list(mine) == list(stock)
    for name in stock:
        if name not in ("start", "last-transaction"):
            assert mine[name] == stock[name], name
        assert type(mine[name]) is type(stock[name])


def test_numbers(serve: Callable[..., Any]) -> None:
    address = serve(
        storage_conf="<mappingstorage 1>\n</mappingstorage>\n<mappingstorage 2>\n</mappingstorage>",
        zeo_conf={"transaction_timeout": "100"},
    )
    db = zeotwisted.DB(address)
    connection = db.open()
    connection.root()["x"] = 1
    transaction.commit()
    connection.root()["x"] = 2
    transaction.abort()
    status = ruok(address)
    assert set(status) == {"1", "2"}
    one, two = status["1"], status["2"]
    assert one["connections"] == 1 and two["connections"] == 0
    assert one["commits"] == 2 and one["stores"] == 2 and two["commits"] == 0
    assert one["active_txns"] == one["waiting"] == 0 and one["lock_time"] is None
    assert one["timeout-thread-is-alive"] is True
    assert one["last-transaction"] == db.lastTransaction().hex()
    connection.close()
    db.close()


def test_visits_are_counted_and_not_logged(serve: Callable[..., Any]) -> None:
    address = serve()
    lines: list[Any] = []
    globalLogPublisher.addObserver(lines.append)
    try:
        ruok(address)
        with socket.create_connection(address, TIMEOUT) as probe:
            probe.recv(10)
            probe.shutdown(socket.SHUT_WR)
            while probe.recv(10):
                pass
        db = zeotwisted.DB(address)
        status = db.storage.server_status()
        ruok(address)
        later = db.storage.server_status()
        db.close()
    finally:
        globalLogPublisher.removeObserver(lines.append)
    assert (status["health-checks"], status["probes"]) == (1, 1)
    assert (later["health-checks"], later["probes"]) == (2, 1), "a client is none of the two"
    loud = [line for line in lines if line["log_level"] >= LogLevel.info]
    assert not [line for line in loud if "connect" in str(line.get("log_format"))]


def test_deadline() -> None:
    """A connection that does not choose a storage ends, and its timer with it."""
    clock = Clock()
    factory = StorageServerFactory({}, ServerOptions(register_timeout=30), clock)
    protocol = factory.buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    clock.advance(29)
    assert not transport.disconnected
    clock.advance(2)
    assert transport.disconnected
    protocol.connectionLost(Failure(ConnectionDone()))
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("msgpack", [False, True])
@pytest.mark.parametrize("limit", [5, 6])
def test_announcement(msgpack: bool, limit: int) -> None:
    options = ServerOptions(msgpack=msgpack, protocol_limit=limit)
    protocol = StorageServerFactory({}, options, Clock()).buildProtocol(None)
    transport = StringTransport()
    protocol.makeConnection(transport)
    letter = b"M" if msgpack else b"Z"
    assert transport.value() == b"\0\0\0\x02" + letter + b"%d" % limit
