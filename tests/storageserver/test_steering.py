"""The calls by which operators look at a server and steer it, over a real socket."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import StorageError
from ZODB.utils import p64, u64, z64

import zeotwisted
from tests.clientstorage.support import wait_until
from zeotwisted.access import EVERYBODY, Access
from zeotwisted.exceptions import AccessDenied, ServerException
from zeotwisted.protocol import Role, split

from .conftest import RawClient
from .served import Served, serving


def operator(served: Served, storage_id: str = "1", read_only: bool = True) -> RawClient:
    """Return a client that only reads, as operators do."""
    client = RawClient(served.address)
    client.ask("register", storage_id, read_only)
    return client


def voted(served: Served, oid: int) -> RawClient:
    """Return a client whose vote is under way."""
    client = RawClient(served.address)
    client.ask("register", "1", False)
    client.socket.sendall(client.session.oneway("set_client_label", "shop"))
    client.socket.sendall(client.session.oneway("tpc_begin", 7, "anna", "words", {}))
    client.socket.sendall(client.session.oneway("storea", p64(oid), None, b"record", 7))
    client.socket.sendall(client.session.call(2, "vote", 7))
    return client


def test_the_clients_of_a_storage() -> None:
    with (
        serving({"1": MappingStorage(), "other": MappingStorage()}) as served,
        closing(operator(served)) as one,
        closing(operator(served, "other")) as other,
        closing(voted(served, 1)),
    ):
        wait_until("two have registered", lambda: one.ask("server_clients")["total"] == 2)
        wait_until(
            "it has voted",
            lambda: any(
                (each["transaction"] or {}).get("phase") == "voted"
                for each in one.ask("server_clients")["clients"]
            ),
        )
        shop, me = one.ask("server_clients")["clients"]
        assert shop["label"] == "shop" and not shop["read_only"]
        assert shop["transaction"]["user"] == "anna"
        assert me["version"] == "6" and me["read_only"] and me["transaction"] is None
        assert {shop["storage_id"], me["storage_id"]} == {"1"}
        (alone,) = other.ask("server_clients")["clients"]
        assert alone["storage_id"] == "other"


def test_who_holds_the_lock_and_who_waits() -> None:
    with (
        serving({"1": MappingStorage()}) as served,
        closing(operator(served)) as one,
        closing(voted(served, 1)) as holder,
    ):
        wait_until("it holds the lock", lambda: one.ask("server_locks")["holders"])
        with closing(voted(served, 2)):
            wait_until("one waits", lambda: one.ask("server_locks")["waiting"])
            locks = one.ask("server_locks")
            (held,), (waits,) = locks["holders"], locks["waiting"]
            assert locks["waiting_total"] == 1
            assert held["client"].startswith("shop 127.0.0.1") and held["seconds"] >= 0
            assert one.ask("disconnect_client", held["number"], "too\nlong")["label"] == "shop"
            assert holder.is_dropped()
            wait_until(
                "the next one holds it",
                lambda: (
                    [each["number"] for each in one.ask("server_locks")["holders"]]
                    == [waits["number"]]
                ),
            )
        assert one.ask("disconnect_client", held["number"], "again") is None


def test_clients_of_another_storage_are_not_disconnected() -> None:
    with (
        serving({"1": MappingStorage(), "other": MappingStorage()}) as served,
        closing(operator(served)) as one,
        closing(operator(served, "other")) as other,
    ):
        (mine,) = other.ask("server_clients")["clients"]
        assert one.ask("disconnect_client", mine["number"], "") is None
        assert one.ask("disconnect_client", -(2**60), "") is None
        assert other.ask("server_clients")["total"] == 1


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("server_clients", ()),
        ("server_locks", ()),
        ("disconnect_client", (1, "")),
        ("pack_room", ()),
        ("cancel_pack", ()),
    ],
)
def test_others_may_not(name: str, args: tuple[Any, ...]) -> None:
    access = Access({Role.UNDO: frozenset({EVERYBODY})})
    with (
        serving({"1": MappingStorage()}, access=access) as served,
        closing(operator(served)) as one,
    ):
        assert one.ask("pack_progress")["running"] == 0
        with pytest.raises(AccessDenied, match=name):
            one.ask(name, *args)
        assert one.ask("ping") is None


@pytest.mark.parametrize("name", ["pack", "get_info", "nonsense", "register"])
def test_a_client_steers_by_calls_for_operators_only(name: str) -> None:
    with (
        serving({"1": MappingStorage()}) as served,
        closing(zeotwisted.client(served.address, read_only=True)) as client,
    ):
        assert client.steer("server_clients")["total"] == 1
        with pytest.raises(ValueError, match="is not a call for operators"):
            client.steer(name)


class Slow(FileStorage):
    """Its packs look for garbage until they may go on."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.packs = Event()
        self.goes_on = Event()

    def pack(self, t: float, referencesf: Any) -> None:
        def slow(*args: Any) -> Any:
            self.packs.set()
            assert self.goes_on.wait(20)
            return referencesf(*args)

        super().pack(t, slow)


def test_a_pack_is_cancelled_and_the_next_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "Data.fs"
    storage = Slow(str(path))
    with (
        serving({"1": storage}) as served,
        closing(operator(served)) as one,
        closing(zeotwisted.client(served.address)) as client,
    ):
        db = zeotwisted.DB(served.address)
        for number in range(5):
            with db.transaction() as connection:
                connection.root()["x"] = number
        db.close()
        before = path.read_bytes()
        errors: list[Exception] = []

        def pack() -> None:
            try:
                client.pack()
            except StorageError as error:
                errors.append(error)

        thread = Thread(target=pack)
        thread.start()
        assert storage.packs.wait(20)
        progress = one.ask("pack_progress")
        assert progress["running"] == 1 and progress["done"] is None
        assert 0 < progress["searched"] <= 1 and abs(progress["since"] - time.time()) < 60
        size, free = one.ask("pack_room")
        assert size == len(before) and free > 0
        assert one.ask("cancel_pack") == 1
        storage.goes_on.set()
        thread.join(20)
        assert "interrupted, because it was cancelled" in str(errors[0])
        assert path.read_bytes() == before
        assert one.ask("pack_progress")["running"] == 0
        assert one.ask("cancel_pack") == 0
        client.pack()
        assert path.stat().st_size < len(before)


def test_a_pack_removes_the_copy_that_the_last_one_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=3, f_frsize=1000))
    storage = FileStorage(str(tmp_path / "Data.fs"))
    with serving({"1": storage}) as served, closing(operator(served)) as one:
        assert one.ask("pack_room") == (4, 3000)
        (tmp_path / "Data.fs.old").write_bytes(b"x" * 50)
        assert one.ask("pack_room") == (4, 3050)


def test_a_storage_without_a_file_has_no_room() -> None:
    with serving({"1": MappingStorage()}) as served, closing(operator(served)) as one:
        assert one.ask("pack_room") is None


def test_oids_of_all_records(tmp_path: Path) -> None:
    """Many at a time, up to one that cannot be read."""

    class Damaged(FileStorage):
        def record_iternext(self, next: bytes | None = None) -> Any:
            found = super().record_iternext(next)
            if found[0] == p64(1500):
                raise StorageError("damaged")
            return found

    storage = Damaged(str(tmp_path / "Data.fs"))
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    for number in range(2500):
        storage.store(p64(number), z64, b"record", "", transaction)
    storage.tpc_vote(transaction)
    tid = storage.tpc_finish(transaction)
    with serving({"1": storage}) as served, closing(operator(served)) as one:

        def oids(following: bytes | None) -> tuple[list[int], bytes | None]:
            found, tids, following = one.ask("record_oids", following)
            assert set(split(tids)) == {tid} and len(tids) == len(found) <= 8000
            return [u64(oid) for oid in split(found)], following

        everything: list[int] = []
        following: bytes | None = None
        while following != p64(1500):
            some, following = oids(following)
            everything += some
        assert everything == list(range(1500))
        with pytest.raises(StorageError, match="damaged"):
            one.ask("record_oids", following)
        following = p64(1501)
        while following is not None:
            some, following = oids(following)
            everything += some
        assert everything == [*range(1500), *range(1501, 2500)]


def test_oids_of_a_storage_that_cannot_tell() -> None:
    with (
        serving({"1": MappingStorage()}) as served,
        closing(operator(served)) as one,
        pytest.raises(ServerException, match="record_iternext"),
    ):
        one.ask("record_oids")
