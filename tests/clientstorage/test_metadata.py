"""User, description and extension of a transaction come back as the application wrote them."""

from __future__ import annotations

import datetime
import decimal
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

import msgpack
import pytest
import ZEO.ClientStorage
from transaction import Transaction
from ZODB._compat import dumps, loads
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import StorageError
from ZODB.utils import p64, z64

from zeotwisted.exceptions import ClientStorageError, CommitInDoubt
from zeotwisted.storageserver.storage.metadata import StoredExtension

from .support import InThread, World, store

OID = p64(1)

#: A FileStorage's limit for each of the three.
LONGEST = 65535

UTC = datetime.timezone.utc

VALUES: list[Any] = [
    ["a"],
    ("a",),
    [["a", ("b", ["c"])], {}],
    2**64,
    -(2**63) - 1,
    2**3000,
    "\ud800 alone",
    "text",
    b"\xff\x00",
    bytearray(b"x"),
    {1, 2},
    frozenset({"a"}),
    {"nested": {1: "a", (1, 2): ["b"], None: {}, b"c": 1.5, 0.5: ()}},
    datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC),
    datetime.date(2020, 1, 2),
    decimal.Decimal("1.50"),
    uuid.UUID(int=7),
    None,
    float("inf"),
    -0.0,
    True,
    1j,
]


def _commit(storage: Any, txn: Any, serial: bytes = z64, data: bytes = b"data") -> bytes:
    storage.tpc_begin(txn)
    try:
        storage.store(OID, serial, data, "", txn)
        storage.tpc_vote(txn)
        return storage.tpc_finish(txn)  # type: ignore[no-any-return]
    except BaseException:
        storage.tpc_abort(txn)
        raise


def _fill(storage: Any, values: list[Any]) -> None:
    tid = z64
    for number, value in enumerate(values):
        txn = TransactionMetaData(b"not \xff UTF-8", "description", {"value": value})
        tid = _commit(storage, txn, tid, b"%d" % number)


def _same(found: list[Any], expected: list[Any]) -> bool:
    return list(map(repr, found)) == list(map(repr, expected))


def _seen(storage: Any) -> list[list[Any]]:
    """Return what the storage says, in each of its ways, of the values."""
    transactions = [transaction.extension["value"] for transaction in storage.iterator()]
    history = [entry["value"] for entry in storage.history(OID, 1000)]
    undo_log = [entry["value"] for entry in storage.undoLog(0, -1000)]
    undo_info = [entry["value"] for entry in storage.undoInfo(0, -1000)]
    return [transactions, history[::-1], undo_log[::-1], undo_info[::-1]]


def _in_file(path: Path) -> list[tuple[Any, ...]]:
    """Return all of a FileStorage but the times."""
    storage = FileStorage(str(path), read_only=True)
    try:
        return [
            (
                transaction.status,
                transaction.user,
                transaction.description,
                transaction.extension_bytes,
                [(record.oid, record.data) for record in transaction],
            )
            for transaction in storage.iterator()
        ]
    finally:
        storage.close()


def test_as_in_a_file_of_ones_own(world: World, tmp_path: Path) -> None:
    server = world.server()
    storage = world.client(server.address)
    _fill(storage, VALUES)
    assert all(_same(found, VALUES) for found in _seen(storage))
    server.stop()
    local = FileStorage(str(tmp_path / "Local.fs"))
    _fill(local, VALUES)
    local.close()
    assert _in_file(server.data_fs) == _in_file(tmp_path / "Local.fs")


@pytest.mark.parametrize("section", ["<mappingstorage>\n</mappingstorage>\n", "demo"])
def test_storages_that_want_a_dict(world: World, tmp_path: Path, section: str) -> None:
    if section == "demo":
        section = (
            f"<demostorage>\n<filestorage>\npath {tmp_path}/B.fs\n</filestorage>\n</demostorage>"
        )
    storage = world.client(world.server(storage=section).address)
    _fill(storage, VALUES)
    found = [transaction.extension["value"] for transaction in storage.iterator()]
    assert _same(found, VALUES)
    found = [entry["extension"]["value"] for entry in storage.history(OID, 1000)]
    assert _same(found[::-1], VALUES)


def test_nothing_is_something(world: World) -> None:
    storage = world.client(world.server().address)
    _commit(storage, TransactionMetaData())
    (transaction,) = storage.iterator()
    assert (transaction.extension, transaction.extension_bytes) == ({}, b"")
    assert (transaction.user, transaction.description) == (b"", b"")


@pytest.mark.parametrize("limit", [5, 6])
def test_transaction_of_the_transaction_package(world: World, limit: int) -> None:
    """It has strings, which may be odd, and no stored extension."""
    storage = world.client(world.server("zeotwisted", f"protocol-limit {limit}").address)
    txn = Transaction()
    txn.user, txn.description = "Ren\xe9e \ud800", "\u20ac"
    txn.setExtendedInfo("key", ["a"])
    _commit(storage, txn)
    (transaction,) = storage.iterator()
    assert transaction.user == b"Ren\xc3\xa9e \xed\xa0\x80"
    assert transaction.description == b"\xe2\x82\xac"
    assert transaction.extension == {"key": ["a"]}


def test_what_cannot_be_pickled(world: World) -> None:
    storage = world.client(world.server().address)
    with pytest.raises(ClientStorageError, match="the transaction's extension cannot be sent: "):
        _commit(storage, TransactionMetaData("", "", {"key": lambda: None}))
    store(storage, OID, b"data")


# Version 5.


def _stock_client(world: World, address: Any) -> Any:
    storage = ZEO.ClientStorage.ClientStorage(address, wait_timeout=20)
    world.callback(storage.close)
    return storage


@pytest.mark.parametrize("options", [(), ("msgpack true",)], ids=["Z5", "M5"])
@pytest.mark.parametrize("package", ["zeotwisted", "ZEO"])
def test_version_5_shows_all_that_it_can(
    world: World, tmp_path: Path, package: str, options: tuple[str, ...]
) -> None:
    """Neither end loses its connection, nor an entry."""
    local = FileStorage(str(tmp_path / "Data.fs"))
    _fill(local, VALUES)
    local.close()
    if package == "zeotwisted":
        options += ("protocol-limit 5",)
    section = f"<filestorage>\npath {tmp_path}/Data.fs\n</filestorage>\n"
    server = world.server("zeotwisted", *options, storage=section)
    if package == "ZEO":
        storage = _stock_client(world, server.address)
    else:
        storage = world.client(server.address)
    transactions, *logs = _seen(storage)
    assert len(transactions) == len(VALUES)
    assert all(_same(log, transactions) for log in logs)
    msgpack = "msgpack true" in options
    for value, found in zip(VALUES, transactions, strict=True):
        if type(value) in (str, bytes, float, bool, type(None)) and value != "\ud800 alone":
            assert found == value
    assert transactions[0] == (("a",) if msgpack else ["a"])
    assert transactions[3] == ("18446744073709551616" if msgpack else 2**64)
    assert transactions[10] == "set({1, 2})"
    assert transactions[14] == "datetime.date(2020, 1, 2)"
    assert transactions[16] == "<uuid.UUID>"
    assert storage.is_connected()


@pytest.mark.parametrize("package", ["zeotwisted", "ZEO"])
@pytest.mark.parametrize(
    ("options", "value"),
    [
        ((), datetime.date(2020, 1, 2)),
        (("msgpack true",), 2**64),
        (("msgpack true",), "\ud800"),
        (("msgpack true",), {1}),
        (("msgpack true",), {"deep": [{1: 2}]}),
    ],
)
def test_what_version_5_cannot_send_is_refused_at_once(
    world: World, package: str, options: tuple[str, ...], value: Any
) -> None:
    if package == "zeotwisted":
        options += ("protocol-limit 5",)
    storage = world.client(world.server(package, *options).address)
    with pytest.raises(ClientStorageError, match="cannot be sent"):
        _commit(storage, TransactionMetaData("", "", {"value": value}))
    assert storage.is_connected()
    assert list(storage.iterator()) == []
    store(storage, OID, b"data")


# Nothing that clients write runs in the daemon.


@pytest.fixture
def trap(tmp_path: Path) -> bytes:
    """Return an extension that makes a file when somebody loads it."""
    return (
        b"\x80\x03}X\x03\x00\x00\x00keycpathlib\nPath.touch\ncpathlib\nPath\nX%b%b\x85R\x85Rs."
        % (
            len(str(tmp_path / "loaded")).to_bytes(4, "little"),
            str(tmp_path / "loaded").encode(),
        )
    )


@pytest.mark.parametrize(
    "section",
    [
        "<filestorage>\npath {}/Data.fs\n</filestorage>\n",
        "<filestorage>\npath {0}/Data.fs\nblob-dir {0}/blobs\n</filestorage>\n",
        "<demostorage>\n<filestorage changes>\npath {}/Data.fs\n</filestorage>\n</demostorage>\n",
        "<mappingstorage>\n</mappingstorage>\n",
    ],
    ids=["file", "blobs", "demo", "memory"],
)
def test_daemon_loads_nothing(world: World, tmp_path: Path, trap: bytes, section: str) -> None:
    server = world.server(storage=section.format(tmp_path))
    storage = world.client(server.address)
    _commit(storage, TransactionMetaData("user", "", trap))
    stock = _stock_client(world, server.address)
    (transaction,) = stock.iterator()
    assert transaction.extension == {"key": "<pathlib.Path.touch>"}
    (entry,) = stock.history(OID)
    if "mapping" in section:
        assert entry["extension"] == {"key": "<pathlib.Path.touch>"}
    else:
        assert entry["key"] == "<pathlib.Path.touch>"
        assert stock.undoLog()[0]["key"] == "<pathlib.Path.touch>"
        assert list(stock.undoInfo(0, 9, {"key": 1})) == []
    (transaction,) = storage.iterator()
    assert transaction.extension_bytes == trap
    storage.stored_history(OID, 9)
    storage.stored_undo_log(0, 9, {"user_name": b"user"})
    assert not (tmp_path / "loaded").exists()


@pytest.mark.parametrize("upstream", ["5", "6", "ZEO"])
def test_server_that_is_a_client(world: World, tmp_path: Path, trap: bytes, upstream: str) -> None:
    """It passes on what it does not understand, or refuses it; and it loads nothing either."""
    options = () if upstream == "ZEO" else (f"protocol-limit {upstream}",)
    server = world.server("ZEO" if upstream == "ZEO" else "zeotwisted", *options)
    host, port = server.address
    section = f"%import zeotwisted\n<clientstorage>\nserver {host}:{port}\n</clientstorage>\n"
    storage = world.client(world.server(storage=section).address)
    tid = _commit(storage, TransactionMetaData("u", "d", {"key": ["a", ("b",)]}))
    (transaction,) = storage.iterator()
    assert (transaction.user, transaction.description) == (b"u", b"d")
    assert transaction.extension == {"key": ["a", ("b",)]}
    for (entry,) in (storage.history(OID), storage.undoLog()):
        assert entry["key"] == ["a", ("b",)]
    if upstream == "6":
        _commit(storage, TransactionMetaData("u", "d", trap), tid)
        assert [each.extension_bytes for each in storage.iterator()][1] == trap
        storage.stored_history(OID, 9)
    else:
        # The server's ClientStorageError arrives as the nearest class that is not the client's own.
        with pytest.raises(StorageError, match="cannot be sent"):
            _commit(storage, TransactionMetaData("u", "d", trap), tid)
        world.failures.clear()
    assert not (tmp_path / "loaded").exists()


def test_dict_for_storages_that_send_it() -> None:
    """ZEO's client is one. It may be served, and takes what was sent to it from there."""
    whole = StoredExtension(dumps({"key": ["a", {1}]}, 3))
    assert loads(dumps(whole, 3)) == {"key": ["a", {1}]}
    assert msgpack.unpackb(msgpack.packb(StoredExtension(dumps({"key": 1}, 3)))) == {"key": 1}
    for broken in (b"\x80\x03}X", dumps(["no dict"], 3)):
        for write in (lambda value: dumps(value, 3), msgpack.packb):
            with pytest.raises(StorageError, match="extension is unreadable"):
                write(StoredExtension(broken))
    for write in (lambda value: dumps(value, 3), msgpack.packb):
        with pytest.raises(Exception, match=r"an? .* be sent|can not serialize"):
            write(StoredExtension(dumps({"key": uuid.UUID(int=1)}, 3)))


# What an application cannot load.


def test_class_that_is_not_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Extension and logs are read all the same; the transaction's bytes stay as they are."""
    module = ModuleType("gone")
    exec("class Thing: pass\nThing.__module__ = 'gone'", module.__dict__)
    monkeypatch.setitem(sys.modules, "gone", module)
    extension = dumps({"thing": module.Thing(), "other": [1]}, 3)
    monkeypatch.delitem(sys.modules, "gone")
    storage = world.client(world.server().address)
    _commit(storage, TransactionMetaData("", "", extension))
    (transaction,) = storage.iterator()
    assert transaction.extension_bytes == extension
    for (entry,) in (storage.history(OID), storage.undoLog()):
        assert (entry["thing"], entry["other"]) == ("<gone.Thing>", [1])


# How long.


@pytest.mark.parametrize("package", ["zeotwisted", "zeotwisted 5", "ZEO"])
def test_all_of_the_room_is_the_applications(world: World, package: str) -> None:
    name, *limit = package.split()
    storage = world.client(
        world.server(name, *("protocol-limit " + each for each in limit)).address
    )
    tid = z64
    for size in (65000, 65400, 65450, 65500):
        txn = TransactionMetaData("u" * LONGEST, "d" * LONGEST, {"key": "x" * size})
        tid = _commit(storage, txn, tid)
    longest = LONGEST - len(dumps({"key": "x" * 1000}, 3)) + 1000
    _commit(storage, TransactionMetaData("", "", {"key": "x" * longest}), tid)
    found = [transaction.extension for transaction in storage.iterator()]
    assert [len(each.pop("key")) for each in found] == [65000, 65400, 65450, 65500, longest]
    assert found == [{}] * 5


def test_room_is_measured_as_the_server_sees_it(world: World) -> None:
    """Its dict contains twice what the application's contains once, in two places."""
    storage = world.client(world.server("ZEO").address)
    half = "x" * 32740
    _commit(storage, TransactionMetaData("", "", {"one": half, "two": half}))
    (transaction,) = storage.iterator()
    assert transaction.extension == {"one": half, "two": half}


def test_lost_answer_without_a_mark(world: World) -> None:
    """There is nothing to find the transaction by, and the error says so."""
    server = world.server("zeotwisted", "protocol-limit 5")
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    txn = TransactionMetaData("", "", {"key": "x" * 65500})
    storage.tpc_begin(txn)
    storage.store(OID, z64, b"data", "", txn)
    storage.tpc_vote(txn)
    proxy.hold()
    finish = InThread(storage.tpc_finish, txn)
    assert proxy.held.wait(20)
    proxy.drop()
    proxy.release()
    with pytest.raises(CommitInDoubt, match="no room for a mark"):
        finish.result()
