"""The client of a Twisted application, in a program with a reactor of its own."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

from zeotwisted.clientstorage.cache.file import FileCache
from zeotwisted.clientstorage.native import StorageClient
from zeotwisted.exceptions import ClientDisconnected

from .support import Script, World, store, wait_until

OID = p64(1)

_PROGRAM = """
import asyncio
from twisted.internet import {kind}reactor
{kind}reactor.install()
from twisted.internet import defer, reactor, task, threads
from zeotwisted.clientstorage.cache.file import FileCache
from zeotwisted.clientstorage.native import StorageClient

OID, OTHER = (number.to_bytes(8, "big") for number in (1, 2))

class Listener:
    def __init__(self):
        self.next = defer.Deferred()
        self.heard = 0

    def _heard(self, what):
        self.heard += 1
        heard, self.next = self.next, defer.Deferred()
        heard.callback(what)

    def invalidate(self, tid, oids):
        self._heard((tid, list(oids)))

    def invalidateCache(self):
        self._heard("everything")

listener = Listener()

def said():
    return threads.deferToThread(sys.stdin.readline)

async def main(reactor):
    client = StorageClient(reactor, ADDRESS, **OPTIONS)
    client.addListener(listener)
    await client.connect()
{body}
    client.close()

OPTIONS = {options!r}
task.react(lambda reactor: defer.Deferred.fromCoroutine(main(reactor)))
"""


def _program(body: str, kind: str = "epoll", **options: Any) -> str:
    body = textwrap.indent(textwrap.dedent(body), "    ")
    return _PROGRAM.format(body=body, kind=kind, options=options)


@pytest.mark.parametrize("kind", ["epoll", "select", "asyncio"])
def test_load_and_listen(world: World, package: str, kind: str) -> None:
    server = world.server(package)
    writer = world.client(server.address)
    tid = store(writer, OID, b"old")
    body = """
    assert listener.heard == 0
    data, tid = await client.load(OID)
    assert (data, tid) == (b"old", client.lastTransaction())
    assert await client.loadBefore(OID, tid) is None
    assert client.is_connected() and not client.is_read_only()
    assert client.storage_info["length"] == 1
    heard = listener.next
    print("loaded", flush=True)
    new, oids = await heard
    assert oids == [OID]
    # The listener comes first.
    assert client.lastTransaction() in (tid, new)
    assert await client.load(OID) == (b"new", new) != (data, tid)
    assert client.lastTransaction() == new
    assert await client.loadBefore(OID, new) == (b"old", tid, new)
    await client.prefetch([OID, OTHER])
    """
    script = Script(_program(body, kind), server.address)
    assert script.line() == "loaded"
    store(writer, OID, b"new", tid)
    script.succeed()


def test_reconnect(world: World) -> None:
    """What was missed is told, and calls in the meantime wait."""
    server = world.server()
    writer = world.client(server.address)
    tid = store(writer, OID, b"old")
    other = store(writer, p64(2), b"kept")
    body = """
    await client.load(OID)
    await client.load(OTHER)
    waiting = client.call("server_status")
    await waiting
    heard = listener.next
    print("loaded", flush=True)
    tid, oids = await heard
    assert oids == [OID], oids
    assert await client.load(OID) == (b"new", tid)
    # This one needs no server.
    assert client.loadBefore(OTHER, b"\\\\x7f" + b"\\\\xff" * 7).called
    """
    proxy = world.proxy(server)
    script = Script(_program(body), proxy.address)
    assert script.line() == "loaded"
    proxy.hold()
    proxy.drop()
    store(writer, OID, b"new", tid)
    assert other > tid
    proxy.drop()
    proxy.release()
    code, _, errors = script.end()
    # It says that it was disconnected, and nothing else.
    assert code == 0 and "Traceback" not in errors, errors


def test_a_listener_that_fails_misses_nothing(world: World) -> None:
    server = world.server()
    writer = world.client(server.address)
    tid = store(writer, OID, b"old")
    body = """
    class Failing:
        failed = 0
        def invalidate(self, tid, oids):
            if not self.failed:
                self.failed = 1
                raise ValueError("not now")
    failing = Failing()
    client._listeners.insert(0, failing)
    await client.load(OID)
    heard = listener.next
    print("loaded", flush=True)
    tid, oids = await heard
    assert failing.failed and oids == [OID]
    """
    script = Script(_program(body), server.address)
    assert script.line() == "loaded"
    store(writer, OID, b"new", tid)
    code, _, errors = script.end()
    assert code == 0, errors


def test_calls_that_fail(world: World) -> None:
    server = world.server()
    body = """
    from ZODB.POSException import POSKeyError
    for load in (client.load(OID), client.loadBefore(OID, OTHER)):
        try:
            await load
        except POSKeyError:
            pass
        else:
            raise AssertionError("it was loaded")
    await client.prefetch([OID])
    assert (await client.call("server_status"))["connections"] == 1
    await client.call("set_client_label", "native")
    for name in ("tpc_begin", "register", "vote", "loadBefore", "sendBlob", "nonsense", "undoa"):
        try:
            client.call(name)
        except ValueError as error:
            assert name in str(error)
        else:
            raise AssertionError(name)
    """
    Script(_program(body), server.address).succeed()


@pytest.mark.parametrize("limit", [5, 6])
def test_log_of_transactions(world: World, limit: int) -> None:
    """It is the same in both versions, and a mark is nobody's business."""
    server = world.server("zeotwisted", f"protocol-limit {limit}")
    storage = world.client(server.address)
    txn = TransactionMetaData("user", "", {"key": ["a", 2**64]})
    storage.tpc_begin(txn)
    storage.store(OID, z64, b"data", "", txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    body = """
    iterator = await client.call("iterator_start", None, None)
    tid, _, user, description, extension = await client.call("iterator_next", iterator)
    assert (user, description, extension) == (b"user", b"", {"key": ["a", 2**64]})
    assert await client.call("iterator_next", iterator) is None
    for log in (client.call("undoLog", 0, 9), client.call("history", OID)):
        (entry,) = await log
        assert entry["user_name"] == b"user"
        assert entry["key"] == ["a", 2**64] and "zeotwisted.mark" not in entry
    """
    Script(_program(body), server.address).succeed()


def test_prefetch_of_many(world: World) -> None:
    """It asks for some at a time, and reads what it is given as they arrive."""
    server = world.server()
    storage = world.client(server.address)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for number in range(1, 1001):
        storage.store(p64(number), z64, b"%d" % number, "", txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    body = """
    read = 0
    def oids():
        nonlocal read
        for read in range(1, 1001):
            yield read.to_bytes(8, "big")
    done = client.prefetch(oids())
    assert 0 < read < 1000
    await done
    assert read == 1000
    assert client.load((777).to_bytes(8, "big")).result[0] == b"777"
    """
    Script(_program(body), server.address).succeed()


def test_close_fails_what_waits(world: World) -> None:
    server = world.server()
    proxy = world.proxy(server)
    body = """
    print("connected", flush=True)
    await said()
    load = client.load(OID)
    client.close()
    from zeotwisted.exceptions import ClientDisconnected
    for later in (load, client.load(OID), client.call("ping"), client.prefetch([OID])):
        try:
            await later
        except ClientDisconnected:
            pass
        else:
            raise AssertionError("it went on")
    assert not client.is_connected()
    """
    script = Script(_program(body), proxy.address)
    assert script.line() == "connected"
    proxy.hold()
    script.say()
    script.succeed()


def test_no_server(world: World) -> None:
    server = world.server()
    server.stop()
    body = "raise AssertionError('connected')"
    code, _, errors = Script(_program(body, wait_timeout=0.2), server.address).end()
    assert code != 0
    assert "ClientDisconnected" in errors and "within 0.2 seconds" in errors


def test_refused(world: World) -> None:
    """There is no point in waiting for long."""
    server = world.server("zeotwisted", "read-only true")
    body = "raise AssertionError('connected')"
    code, _, errors = Script(_program(body, wait_timeout=600), server.address).end()
    assert code != 0
    assert "refuses us" in errors and "read_only=True" in errors


def test_client_label(world: World) -> None:
    """The server knows it by its label from the first call on."""
    server = world.server()
    body = """
    clients = (await client.call("server_clients"))["clients"]
    assert [each["label"] for each in clients] == ["indexer"], clients
    """
    Script(_program(body, client_label="indexer"), server.address).succeed()


def test_another_reactor_stays_out_of_it(world: World) -> None:
    """Making one does nothing; nor does closing one that was not started."""
    from tests.ordering.puppets import MemoryReactor

    reactor = MemoryReactor()
    client = StorageClient(reactor, world.server().address)
    assert not reactor.tcpClients and not client.is_connected()
    waiting = client.load(OID)
    client.close()
    failures: list[Any] = []
    waiting.addErrback(failures.append)
    assert failures[0].check(ClientDisconnected)
    wait_until("nothing is left", lambda: not reactor.getDelayedCalls())


def test_a_cache_in_a_file(world: World, package: str, tmp_path: Path) -> None:
    server = world.server(package)
    tid = store(world.client(server.address), OID, b"old")
    body = """
    assert await client.load(OID) == (b"old", client.lastTransaction())
    """
    path = str(tmp_path / "cache")
    Script(_program(body, cache=path, cache_size=100_000), server.address).succeed()
    cache = FileCache(path, 100_000)
    cache.wait_until_indexed()
    assert cache.load(OID) == (b"old", tid)
    cache.close()
