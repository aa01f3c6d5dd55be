"""Peers that vanish without a word: silent proxies, stopped processes."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

from zeotwisted import ClientStorage
from zeotwisted.clientstorage.calls.waiter import Waiter
from zeotwisted.exceptions import ClientDisconnected

from .support import InThread, Script, World, store, wait_for_connection, wait_until

OID = p64(1)

#: The silence (seconds) that these tests allow: long enough for a busy machine.
TIMEOUT = 3.0

#: The same where nobody vanishes, and who is slow must not be taken for gone.
LONG = 6.0

SILENT = r"nothing was heard from the server for [\d.]+ seconds \(liveness_timeout is 3\)"


def _client(world: World, address: Any, timeout: float = TIMEOUT) -> Any:
    return world.client(address, liveness_timeout=timeout)


def _reconnected(storage: Any, old: Any) -> None:
    wait_for_connection(
        storage,
        "there is another connection",
        lambda: storage._link.connection.ready not in (None, old),
    )


def test_idle_connection(world: World, package: str, caplog: pytest.LogCaptureFixture) -> None:
    proxy = world.proxy(world.server(package))
    storage = _client(world, proxy.address)
    assert storage.is_connected() and storage.is_connected(test=True)
    old = storage._link.protocol()
    began = time.monotonic()
    proxy.silence()
    _reconnected(storage, old)
    assert time.monotonic() - began < 5 * TIMEOUT
    storage.ping()
    with pytest.raises(ClientDisconnected, match=SILENT):
        old.ask(Waiter(), "ping")
    (line,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    assert "disconnected from 127.0.0.1" in line.getMessage()
    assert "nothing was heard from the server" in line.getMessage()


def test_call_that_waits(world: World, package: str) -> None:
    proxy = world.proxy(world.server(package))
    storage = _client(world, proxy.address)
    tid = store(storage, OID, b"data")
    proxy.silence()
    call = InThread(storage.getTid, OID)
    with pytest.raises(ClientDisconnected, match=SILENT):
        call.result()
    # It says so before it goes on with another connection.
    assert storage.getTid(OID) == tid


def test_is_connected_can_find_out(world: World) -> None:
    proxy = world.proxy(world.server())
    storage = _client(world, proxy.address)
    proxy.silence()
    assert storage.is_connected(), "nobody can know yet"
    assert not storage.is_connected(test=True)


def test_is_not_connected_once_it_is_closed(world: World) -> None:
    storage = world.client(world.server().address)
    assert storage.is_connected(test=True)
    storage.close()
    assert not storage.is_connected()
    assert not storage.is_connected(test=True)


def test_is_not_connected_where_the_reactor_has_stopped(world: World) -> None:
    storage = world.client(world.server().address)
    thread = storage._link.thread
    # As by an error in it, and not by the end of the last storage.
    thread.reactor.callFromThread(thread.reactor.crash)
    thread._thread.join()
    assert not storage.is_connected()
    assert not storage.is_connected(test=True)


def test_idle_connection_to_a_server_that_is_there(world: World, package: str) -> None:
    proxy = world.proxy(world.server(package))
    storage = _client(world, proxy.address, LONG)
    only = storage._link.protocol()
    for _ in range(2):
        sent = len(proxy.sent)
        wait_until("it asks", lambda sent=sent: len(proxy.sent) > sent)
    storage.ping()
    assert storage._link.protocol() is only


@pytest.mark.parametrize("timeout", [0, None])
def test_never(world: World, timeout: float | None) -> None:
    storage = world.client(world.server().address, liveness_timeout=timeout)
    assert storage._link.protocol()._liveness is None


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_no_timeout(timeout: float) -> None:
    with pytest.raises(ValueError, match="liveness_timeout"):
        ClientStorage(("127.0.0.1", 1), liveness_timeout=timeout)


def test_client_that_vanishes_with_the_lock(world: World) -> None:
    """Its proxy is silent: the daemon lets others commit, and forgets it."""
    server = world.server("zeotwisted", f"client-timeout {TIMEOUT}")
    proxy = world.proxy(server)
    vanishing = world.client(proxy.address)
    txn = TransactionMetaData()
    vanishing.tpc_begin(txn)
    vanishing.store(OID, z64, b"lost", "", txn)
    vanishing.tpc_vote(txn)
    proxy.silence()
    other = world.client(server.address)
    tid = InThread(store, other, OID, b"data").result()
    assert other.load(OID) == (b"data", tid)
    assert other.server_status()["connections"] == 1


def test_client_that_is_stopped_with_the_lock(world: World) -> None:
    server = world.server("zeotwisted", f"client-timeout {TIMEOUT}")
    script = Script(
        """
        from ZODB.Connection import TransactionMetaData
        from zeotwisted import ClientStorage
        from zeotwisted.exceptions import ClientDisconnected
        storage = ClientStorage(ADDRESS)
        txn = TransactionMetaData()
        storage.tpc_begin(txn)
        storage.store(b"\\0" * 7 + b"\\1", b"\\0" * 8, b"lost", "", txn)
        storage.tpc_vote(txn)
        print("voted", flush=True)
        sys.stdin.readline()
        try:
            storage.tpc_finish(txn)
        except ClientDisconnected:
            print("disconnected", flush=True)
        storage.ping()
        storage.close()
        """,
        server.address,
    )
    try:
        assert script.line() == "voted"
        os.kill(script.process.pid, signal.SIGSTOP)
        other = world.client(server.address)
        tid = InThread(store, other, OID, b"data").result()
    finally:
        os.kill(script.process.pid, signal.SIGCONT)
    script.say()
    code, output, errors = script.end()
    assert (code, output) == (0, "disconnected\n"), errors
    assert other.load(OID) == (b"data", tid)


def test_client_that_is_there(world: World) -> None:
    """The daemon asks, and its clients answer, also when they have no reason to say anything."""
    server = world.server("zeotwisted", f"client-timeout {LONG}")
    proxy = world.proxy(server)
    storage = world.client(proxy.address, liveness_timeout=0)
    only = storage._link.protocol()
    for _ in range(2):
        sent = len(proxy.sent)
        wait_until("it answers", lambda sent=sent: len(proxy.sent) > sent)
    assert storage._link.protocol() is only
    assert storage.is_connected(test=True)


def test_writer_that_waits_for_room(world: World, package: str) -> None:
    """Nothing is asked yet, but there is no room for more: that is waiting, too."""
    proxy = world.proxy(world.server(package))
    storage = _client(world, proxy.address)
    proxy.stall()
    txn = TransactionMetaData()
    storage.tpc_begin(txn)

    def store_for_ever() -> None:
        while True:
            storage.store(OID, z64, b"x" * 2**20, "", txn)

    with pytest.raises(ClientDisconnected):
        InThread(store_for_ever).result()
    storage.tpc_abort(txn)
    assert store(storage, OID, b"data")
