"""What ZEO's clients do, and its server takes: serials that are texts, and a history of nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import ZEO.Exceptions
import ZEO.scripts.zeopack
from ZEO.ClientStorage import ClientStorage as StockStorage
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError, StorageError
from ZODB.tests.MinPO import MinPO
from ZODB.tests.StorageTestBase import zodb_pickle
from ZODB.utils import p64, z64

import zeotwisted
from zeotwisted.exceptions import ServerException

Open = Callable[..., Any]

DATA = zodb_pickle(MinPO(1))


def commit(storage: Any, oid: bytes, serial: Any) -> bytes:
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    try:
        storage.store(oid, serial, DATA, "", txn)
        storage.tpc_vote(txn)
    except BaseException:
        storage.tpc_abort(txn)
        raise
    tid: bytes = storage.tpc_finish(txn)
    return tid


@pytest.fixture(params=["FileStorage", "MappingStorage"])
def address(request: Any, serve: Callable[..., Any], tmp_path: Path) -> Any:
    if request.param == "MappingStorage":
        return serve()
    return serve(str(tmp_path / "Data.fs"))


@pytest.fixture(params=["ZEO", "zeotwisted"])
def open_storage(request: Any, address: Any) -> Iterator[Open]:
    opened: list[Any] = []

    def open(**options: Any) -> Any:
        make = StockStorage if request.param == "ZEO" else zeotwisted.client
        opened.append(make(address, **options))
        return opened[-1]

    yield open
    for storage in opened:
        storage.close()


@pytest.mark.parametrize("serial", ["", "\0" * 8, None])
def test_serial_of_a_new_object(open_storage: Open, serial: Any) -> None:
    storage = open_storage()
    tid = commit(storage, p64(1), serial)
    assert storage.loadBefore(p64(1), b"\x7f" + b"\xff" * 7) == (DATA, tid, None)


@pytest.mark.parametrize("serial", ["", "\0" * 8])
def test_serial_that_is_no_revision(open_storage: Open, serial: Any) -> None:
    storage = open_storage()
    commit(storage, p64(1), z64)
    with pytest.raises((ConflictError, TypeError, POSKeyError)):
        commit(storage, p64(1), serial)
    commit(storage, p64(2), z64)


def test_history_of_nothing(serve: Callable[..., Any]) -> None:
    storage = StockStorage(serve())
    try:
        commit(storage, z64, z64)
        with pytest.raises(POSKeyError):
            storage.history(None, None)
        with pytest.raises(TypeError):
            storage.history(z64, None)
        assert len(storage.history(z64)) == 1
    finally:
        storage.close()


# Packing.


def test_pack_of_the_present(open_storage: Open) -> None:
    """The client's clock may be ahead a little."""
    storage = open_storage()
    commit(storage, z64, z64)
    storage.pack(time.time() - 1000, wait=True)
    storage.pack(time.time() + 5, wait=True)
    # It was taken for the present, so the storage does not say that it was packed to a later time.
    storage.pack(wait=True)


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("days", [2.0, 1e4, 1e300, float("inf")])
def test_pack_of_the_future(open_storage: Open, days: float, wait: bool) -> None:
    storage = open_storage()
    commit(storage, z64, z64)
    with pytest.raises((StorageError, ZEO.Exceptions.ServerException), match="in the future"):
        storage.pack(time.time() + days * 86400, wait=wait)


@pytest.mark.parametrize("when", [float("nan"), -1, float("-inf"), -(10**300)])
def test_pack_time_that_is_none(open_storage: Open, when: float) -> None:
    with pytest.raises((StorageError, ZEO.Exceptions.ServerException), match=r"since 1970|cannot"):
        open_storage().pack(when, wait=True)


@pytest.mark.parametrize("when", ["now", b"", (2026, 1, 1)])
def test_pack_time_of_another_kind(open_storage: Open, when: Any) -> None:
    with pytest.raises((TypeError, ServerException)):
        storage = open_storage()
        call = storage._call if isinstance(storage, StockStorage) else storage._link.call
        call("pack", when, True)


def test_our_clients_hear_of_an_hour(address: Any) -> None:
    with zeotwisted_client(address) as storage:
        commit(storage, z64, z64)
        for ahead in (100, 3600, 10_000):
            with pytest.raises(StorageError, match="in the future"):
                storage.pack(time.time() + ahead)


def zeotwisted_client(address: Any, **options: Any) -> Any:
    return closing(zeotwisted.client(address, **options))


def test_readers_do_not_pack(address: Any) -> None:
    with zeotwisted_client(address, read_only=True) as storage:
        with pytest.raises(ReadOnlyError):
            storage.pack()
        # Nor by another way.
        with pytest.raises(ReadOnlyError):
            storage._link.call("pack", time.time(), True)


def test_zeopack_packs(address: Any, capsys: Any) -> None:
    """It registers as a reader."""
    host, port = address
    ZEO.scripts.zeopack.main([f"{host}:{port}:1"])
    assert capsys.readouterr().err == ""


def test_a_read_only_server_is_not_packed(serve: Callable[..., Any]) -> None:
    address = serve(zeo_conf={"read_only": "true"})
    with zeotwisted_client(address, read_only=True) as ours, pytest.raises(ReadOnlyError):
        ours._link.call("pack", time.time(), True)
    theirs = StockStorage(address, read_only=True)
    try:
        with pytest.raises(ReadOnlyError):
            theirs.pack(wait=True)
    finally:
        theirs.close()
