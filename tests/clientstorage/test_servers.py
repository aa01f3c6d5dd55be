"""Several servers for one client, and servers that take no changes."""

from __future__ import annotations

import shutil
import socket
import threading
from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ReadOnlyError
from ZODB.utils import maxtid, p64, z64

from tests.ordering.puppets import Database
from zeotwisted import ClientStorage
from zeotwisted.clientstorage.connection.states import TRANSITIONS, Input, State
from zeotwisted.exceptions import ClientDisconnected

from .support import InThread, Proxy, World, store, wait_for_connection, wait_until

OID = b"\0" * 7 + b"\1"
OIDS = [p64(number) for number in range(1, 10)]


def _nobody() -> tuple[str, int]:
    """Return an address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()


def _connected(storage: Any, read_only: bool | None = None) -> None:
    wait_for_connection(
        storage,
        "there is the right connection",
        lambda: storage.is_connected() and read_only in (None, storage.is_read_only()),
    )


def _reader_of(world: World, package: str = "zeotwisted") -> Any:
    """Return a server that takes no changes, of a database with one record."""
    server = world.server(package)
    storage = ClientStorage(server.address)
    store(storage, OID, b"data")
    storage.close()
    server.stop()
    reader = world.server(package, "read-only true", start=False)
    shutil.copy(server.data_fs, reader.data_fs)
    reader.start()
    return reader


def test_every_state_can_be_left_and_closed() -> None:
    for state in State:
        if state is not State.CLOSED:
            assert TRANSITIONS[state, Input.CLOSE] is State.CLOSED
        assert (State.CLOSED, Input.CLOSE) not in TRANSITIONS
    assert all(before is not State.CLOSED for before, _ in TRANSITIONS)
    # Whoever has a connection can lose it.
    for state in (State.ESTABLISHING, State.READY, State.FALLBACK):
        assert TRANSITIONS[state, Input.LOST] is State.PAUSING


def test_the_one_that_is_there(world: World, package: str) -> None:
    server = world.server(package)
    storage = world.client([_nobody(), server.address, _nobody()])
    assert store(storage, OID, b"data") == storage.lastTransaction()


def test_a_silent_one_does_not_keep_the_others_waiting(world: World) -> None:
    silent = world.stranger()
    server = world.server()
    storage = world.client([silent.address, server.address], wait_timeout=5)
    storage.ping()


def test_all_are_named_when_there_is_none(world: World) -> None:
    addresses = [_nobody(), _nobody()]
    with pytest.raises(ClientDisconnected) as info:
        ClientStorage(addresses, wait_timeout=0.1)
    for host, port in addresses:
        assert f"{host}:{port}" in str(info.value)


def test_all_refuse(world: World) -> None:
    """There is no point in waiting."""
    readers = [_reader_of(world), _reader_of(world)]
    with pytest.raises(ClientDisconnected, match=r"refuses us.*read_only=True"):
        ClientStorage([reader.address for reader in readers], wait_timeout=600)


def test_one_that_speaks_something_else_is_passed_over(world: World) -> None:
    stranger = world.stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    server = world.server()
    storage = world.client([stranger.address, server.address])
    storage.ping()


def test_fail_over(world: World) -> None:
    """Another server of the same data takes over; what is cached stays."""
    server = world.server()
    first, second = world.proxy(server), world.proxy(server)
    storage = world.client([first.address, second.address])
    store(storage, OID, b"data")
    storage.load(OID)
    used, other = (
        (first, second)
        if storage._info.server.endswith(f"{first.address[1]})")
        else (second, first)
    )
    used.close()
    wait_until(
        "the other one is used",
        lambda: storage.is_connected() and storage._info.server.endswith(f"{other.address[1]})"),
    )
    assert len(storage._cache) == 1
    store(storage, OID, b"more", storage.load(OID)[1])


def test_new_addr_of_a_search_that_gets_nowhere(world: World) -> None:
    silent = world.stranger()
    server = world.server()
    storage = world.client(silent.address, wait=False)
    wait_until("it is connected there", lambda: silent.clients)
    storage.new_addr([silent.address, server.address])
    storage.ping()


def test_fallback(world: World, package: str) -> None:
    reader = _reader_of(world, package)
    storage = world.client([_nobody(), reader.address], read_only_fallback=True)
    assert storage.is_read_only() and storage.isReadOnly()
    assert storage.load(OID)[0] == b"data"
    txn = TransactionMetaData()
    with pytest.raises(ReadOnlyError):
        storage.tpc_begin(txn)
    assert storage.tpc_transaction() is None
    with pytest.raises(ReadOnlyError):
        storage.store(OID, b"\0" * 8, b"new", "", txn)
    with pytest.raises(ReadOnlyError):
        storage.new_oid()


def test_a_writable_one_is_preferred(world: World) -> None:
    reader, server = _reader_of(world), world.server()
    for addresses in ([reader.address, server.address], [server.address, reader.address]):
        storage = world.client(addresses, read_only_fallback=True)
        assert not storage.is_read_only()


class _Upgrade:
    """A client at a server that takes no changes; the one that does is about to come."""

    def __init__(self, world: World, package: str = "zeotwisted") -> None:
        self.server = _reader_of(world, package)
        self.address = _nobody()
        self.storage = world.client([self.address, self.server.address], read_only_fallback=True)
        assert self.storage.is_read_only()

    def come(self, world: World) -> Any:
        host, port = self.address
        writer = world.server(start=False, address=f"{host}:{port}")
        shutil.copy(self.server.data_fs, writer.data_fs)
        writer.start()
        return writer


def test_upgrade(world: World) -> None:
    """A server that takes changes appears; nothing that is cached is lost."""
    upgrade = _Upgrade(world)
    storage = upgrade.storage
    storage.load(OID)
    upgrade.come(world)
    _connected(storage, read_only=False)
    assert len(storage._cache) >= 1
    assert storage._coherence.load_before(OID, b"\x7f" + b"\xff" * 7)
    _, serial = storage.load(OID)
    store(storage, OID, b"new", serial)
    assert storage.load(OID)[0] == b"new"


def test_upgrade_and_back(world: World) -> None:
    upgrade = _Upgrade(world)
    writer = upgrade.come(world)
    _connected(upgrade.storage, read_only=False)
    writer.stop()
    _connected(upgrade.storage, read_only=True)
    writer.start()
    _connected(upgrade.storage, read_only=False)


def test_upgrade_lets_calls_end(world: World) -> None:
    """Who waits for an answer from the old server gets it."""
    reader = _reader_of(world)
    proxy: Proxy = world.proxy(reader)
    address = _nobody()
    storage = world.client([address, proxy.address], read_only_fallback=True)
    proxy.hold()
    call = InThread(storage.load, OID)
    assert proxy.held.wait(20)
    host, port = address
    writer = world.server(start=False, address=f"{host}:{port}")
    shutil.copy(reader.data_fs, writer.data_fs)
    writer.start()
    wait_for_connection(
        storage,
        "it is being replaced",
        lambda: storage._link.connection.state is State.ESTABLISHING,
    )
    proxy.release()
    assert call.result()[0] == b"data"
    _connected(storage, read_only=False)


def test_lost_while_falling_back(world: World) -> None:
    """The fallback goes away while a better one is being looked for."""
    reader = _reader_of(world)
    storage = world.client([_nobody(), reader.address], read_only_fallback=True)
    for _ in range(3):
        reader.stop()
        wait_for_connection(storage, "it is lost", lambda: not storage.is_connected())
        reader.start()
        _connected(storage, read_only=True)
    assert storage.load(OID)[0] == b"data"


def test_readers_are_content(world: World) -> None:
    reader = _reader_of(world)
    storage = world.client([_nobody(), reader.address], read_only=True)
    assert storage.is_read_only()
    assert storage._link.connection.state is State.READY


def test_changes_in_the_meantime(world: World) -> None:
    """What is committed while the client goes from one server to the other is not lost."""
    remember = "invalidation-queue-size 100000"
    server = world.server("zeotwisted", remember)
    # It serves what the other one has, and passes on its news.
    host, port = server.address
    relay = world.server(
        "zeotwisted",
        "read-only true",
        remember,
        storage=(f"%import zeotwisted\n<clientstorage>\n server {host}:{port}\n</clientstorage>\n"),
    )
    writer = world.client(server.address)
    serials = [store(writer, oid, b"0") for oid in OIDS]
    address = _nobody()
    storage = world.client([address, relay.address], read_only_fallback=True)
    database = Database()
    storage.registerDB(database)
    for oid in OIDS:
        storage.load(oid)
    stop = threading.Event()

    def write() -> int:
        number = 0
        while not stop.is_set():
            number += 1
            index = number % len(OIDS)
            serials[index] = store(writer, OIDS[index], b"%d" % number, serials[index])
        return number

    writing = InThread(write)
    for _ in range(5):
        proxy = world.proxy(server, address)
        _connected(storage, read_only=False)
        proxy.close()
        _connected(storage, read_only=True)
    stop.set()
    writing.result()
    wait_until("all is known", lambda: storage.lastTransaction() == max(serials))
    for oid, serial in zip(OIDS, serials, strict=True):
        cached = storage._coherence.load_before(oid, maxtid)
        assert cached is None or cached[1:] == (serial, None)
        assert storage.load(oid)[1] == serial
    assert "everything" not in database.heard
    assert set().union(*(oids for _, oids in database.heard)) == set(OIDS)


@pytest.mark.parametrize("limit", [5, 6])
def test_a_copy_is_not_asked_for_the_outcome_of_a_commit(world: World, limit: int) -> None:
    """The server of the commit is not to be had; one that is there does not know of it yet."""
    reader = _reader_of(world)
    server = world.server("zeotwisted", f"protocol-limit {limit}", start=False)
    shutil.copy(reader.data_fs, server.data_fs)
    server.start()
    proxy = world.proxy(server)
    storage = world.client([proxy.address, reader.address], read_only_fallback=True)
    _connected(storage, read_only=False)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(OID, storage.load(OID)[1], b"new", "", txn)
    storage.tpc_vote(txn)
    proxy.hold()
    finish = InThread(storage.tpc_finish, txn)
    assert proxy.held.wait(20)
    proxy.close()
    _connected(storage, read_only=True)
    world.proxy(server, proxy.address)
    tid = finish.result()
    assert not storage.is_read_only()
    assert storage.load(OID) == (b"new", tid)
    assert storage.lastTransaction() == tid


@pytest.mark.parametrize("upstream", ["5", "6", "ZEO"])
def test_outcome_at_a_server_that_is_a_client(world: World, upstream: str) -> None:
    """It passes on what the transaction can be found by, in both directions."""
    if upstream == "ZEO":
        server = world.server("ZEO")
    else:
        server = world.server("zeotwisted", f"protocol-limit {upstream}")
    host, port = server.address
    relay = world.server(
        storage=(f"%import zeotwisted\n<clientstorage>\n server {host}:{port}\n</clientstorage>\n"),
    )
    proxy = world.proxy(relay)
    storage = world.client(proxy.address)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(OID, z64, b"data", "", txn)
    storage.tpc_vote(txn)
    proxy.hold()
    finish = InThread(storage.tpc_finish, txn)
    assert proxy.held.wait(20)
    proxy.drop()
    proxy.release()
    tid = finish.result()
    assert storage.load(OID) == (b"data", tid)
    assert next(storage.iterator()).extension == {}


@pytest.mark.parametrize("refuse", [False, True])
def test_older_server(world: World, refuse: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A backup was restored: either nothing old is served, or the server is not used."""
    server = world.server()
    storage = world.client(server.address, refuse_older_server=refuse, wait_timeout=1)
    tid = store(storage, OID, b"old")
    backup = server.data_fs.with_suffix(".backup")
    server.stop()
    shutil.copy(server.data_fs, backup)
    server.start()
    _connected(storage)
    store(storage, OID, b"new", tid)
    server.stop()
    wait_for_connection(storage, "it is lost", lambda: not storage.is_connected())
    shutil.copy(backup, server.data_fs)
    for leftover in server.data_fs.parent.glob("Data.fs.*"):
        if leftover != backup:
            leftover.unlink()
    server.start()
    if refuse:
        wait_for_connection(
            storage,
            "it is refused",
            lambda: "refuse_older_server" in str(storage._link.connection.failure),
        )
        assert not storage.is_connected()
        assert storage.load(OID)[0] == b"new", "what is known is known"
        with pytest.raises(ClientDisconnected, match="backup"):
            storage.ping()
    else:
        _connected(storage)
        assert storage.load(OID)[0] == b"old"
        assert storage.lastTransaction() == tid
    assert any(record.levelname == "CRITICAL" for record in caplog.records)
