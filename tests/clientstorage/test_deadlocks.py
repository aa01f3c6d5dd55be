"""Transactions that would wait for themselves are told so; all others wait, and go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transaction
from ZODB import DB
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import StorageTransactionError
from ZODB.utils import p64, z64

from .support import InThread, World, store, wait_until


@pytest.fixture
def db(world: World, package: str) -> Any:
    db = DB(world.client(world.server(package).address))
    world.callback(db.close)
    return db


def change(connection: Any, key: str) -> None:
    connection.root()[key] = key


def commits(db: Any, key: str) -> bool:
    """Whether the database is as usable as before."""
    with db.transaction() as connection:
        change(connection, key)
    with db.transaction() as connection:
        return key in connection.root()


def commit_refused(manager: Any, pattern: str) -> None:
    committing = InThread(manager.commit)
    with pytest.raises(StorageTransactionError, match=pattern) as caught:
        committing.result()
    assert not isinstance(caught.value, transaction.interfaces.TransientError)
    manager.abort()


def test_two_connections_in_one_transaction(db: Any) -> None:
    manager = transaction.TransactionManager()
    connections = [db.open(manager) for _ in range(2)]
    for number, connection in enumerate(connections):
        change(connection, str(number))
    commit_refused(manager, "two connections.*transaction manager of its own")
    for connection in connections:
        connection.close()
    assert commits(db, "after")


def test_undo_beside_a_connection(db: Any) -> None:
    assert commits(db, "to undo")
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    change(connection, "new")
    db.undo(db.undoLog(0, 1)[0]["id"], manager.get())
    commit_refused(manager, "db.undo counts as another one")
    connection.close()
    assert commits(db, "after")


@pytest.mark.parametrize("ways", [("tcp", "tcp"), ("tcp", "proxy")])
def test_two_clients_of_one_storage(world: World, ways: tuple[str, ...]) -> None:
    """By whatever ways they reach it."""
    server = world.server()
    addresses = {"tcp": server.address, "proxy": world.proxy(server).address}
    _refuse_two_clients(world, [addresses[way] for way in ways])


def test_two_clients_of_a_stock_server(world: World) -> None:
    _refuse_two_clients(world, [world.server("ZEO").address] * 2)


def _refuse_two_clients(world: World, addresses: list[Any]) -> None:
    manager = transaction.TransactionManager()
    databases = [DB(world.client(address)) for address in addresses]
    for number, database in enumerate(databases):
        world.callback(database.close)
        change(database.open(manager), str(number))
    commit_refused(manager, "two connections")
    assert commits(databases[0], "after")


def test_two_storages_of_one_server(world: World, tmp_path: Path) -> None:
    server = world.server(
        storage="".join(f"<mappingstorage {name}>\n</mappingstorage>\n" for name in "12")
    )
    manager = transaction.TransactionManager()
    for name in "12":
        database = DB(world.client(server.address, storage=name))
        world.callback(database.close)
        change(database.open(manager), "x")
    InThread(manager.commit).result()


def test_savepoints_are_no_second_part(db: Any) -> None:
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    for number in range(3):
        change(connection, str(number))
        manager.savepoint()
    manager.commit()
    connection.close()
    assert commits(db, "after")


def test_another_thread_may_end_what_this_one_began(world: World) -> None:
    """And the two may have one extension, which nobody has to know."""
    storage = world.client(world.server().address)
    extension: dict[str, Any] = {}
    first, second = (TransactionMetaData("", "", extension) for _ in range(2))
    storage.tpc_begin(first)
    InThread(storage.store, p64(1), z64, b"data", "", first).result()

    def end() -> None:
        wait_until("the other one waits", lambda: storage._committing._gate._waiting)
        storage.tpc_vote(first)
        storage.tpc_finish(first)

    ending = InThread(end)
    storage.tpc_begin(second)
    storage.tpc_abort(second)
    ending.result()


def test_a_thread_that_does_not_go_on_with_its_own(world: World) -> None:
    storage = world.client(world.server().address, wait_timeout=0.3)
    first = TransactionMetaData()
    storage.tpc_begin(first)
    with pytest.raises(StorageTransactionError, match="this thread has begun another"):
        storage.tpc_begin(TransactionMetaData())
    storage.tpc_abort(first)
    store(storage, p64(1), b"data")
