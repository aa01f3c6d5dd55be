"""Conflicts are resolved with the classes that are allowed, and no other class is loaded."""

from __future__ import annotations

import copyreg
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree
from persistent import Persistent
from persistent.mapping import PersistentMapping
from ZEO.ClientStorage import ClientStorage as StockStorage
from ZODB._compat import PersistentUnpickler
from ZODB.ConflictResolution import BadClass
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError, UndoError
from ZODB.tests.hexstorage import HexStorage
from ZODB.utils import z64

import zeotwisted
from tests.ordering.puppets import OID_A, PuppetClient, Server
from zeotwisted.storageserver.storage.allowedclasses import AllowedClasses, default_classes
from zeotwisted.storageserver.storage.recordscan import (
    is_cheap_to_load,
    names_its_class_plainly,
)
from zeotwisted.storageserver.storage.resolution import resolving_storages

LATEST = b"\x7f" + b"\xff" * 7


class Adding(Persistent):
    """Its conflicts are resolved by addition."""

    def __init__(self) -> None:
        self.n = 0

    def _p_resolveConflict(self, old: Any, saved: Any, new: Any) -> Any:
        return {"n": saved["n"] + new["n"] - old["n"]}


class Stubborn(Persistent):
    """Its conflicts cannot be resolved."""

    def _p_resolveConflict(self, old: Any, saved: Any, new: Any) -> Any:
        raise ConflictError


def allowed(*names: str) -> AllowedClasses:
    return AllowedClasses(names)


# Which names are found.


def test_a_class() -> None:
    found = allowed("BTrees.Length.Length")
    assert found.find("BTrees.Length", "Length") is Length
    assert isinstance(found.find("BTrees.Length", "persistent"), BadClass)
    assert isinstance(found.find("BTrees.OOBTree", "OOBTree"), BadClass)


def test_a_module_allows_its_own_classes_only() -> None:
    found = allowed(__name__)
    assert found.find(__name__, "Adding") is Adding
    for name in ("Persistent", "PersistentMapping", "allowed", "os", "types", "nothing"):
        assert isinstance(found.find(__name__, name), BadClass), name


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("__builtin__", "eval"),
        ("builtins", "getattr"),
        ("builtins", "type"),
        ("copyreg", "__newobj__"),
        ("BTrees.Length", "Length.__init__"),
        ("BTrees", "Length.Length"),
        ("BTrees.Length.Length", "__init__"),
        ("persistent.mapping", "PersistentMapping"),
        ("sys", "modules"),
        ("", ""),
    ],
)
def test_names_of_attackers(module: str, name: str) -> None:
    assert isinstance(allowed(*default_classes(False)).find(module, name), BadClass)


def test_nothing_is_imported_for_a_name_that_is_not_allowed() -> None:
    assert "antigravity" not in sys.modules
    assert isinstance(allowed("this").find("antigravity", "fly"), BadClass)
    assert "antigravity" not in sys.modules


def test_defaults() -> None:
    assert default_classes(True) == ()
    found = allowed(*default_classes(False))
    assert found.find("BTrees.OOBTree", "OOBTree") is OOBTree
    for module, name in (name.rsplit(".", 1) for name in default_classes(False)):
        assert isinstance(found.find(module, name), type), (module, name)


def test_helpers_of_old_pickles() -> None:
    found = allowed()
    assert found.find("_codecs", "encode")("\xff", "latin1") == b"\xff"
    with pytest.raises(ValueError):
        found.find("_codecs", "encode")("x", "rot13")
    rebuilt = found.find("copy_reg", "_reconstructor")
    with pytest.raises(ValueError):
        rebuilt(BadClass("os", "system"), object, None)
    with pytest.raises(ValueError):
        rebuilt(dict, dict, {})


class Plain:
    """It is not persistent."""


def test_a_class_has_to_be_persistent() -> None:
    assert isinstance(allowed(__name__).find(__name__, "Plain"), BadClass)
    assert isinstance(allowed(f"{__name__}.Plain").find(__name__, "Plain"), BadClass)


def test_helpers_keep_no_state() -> None:
    found = allowed()
    for module, name in (
        ("_codecs", "encode"),
        ("copyreg", "_reconstructor"),
        ("builtins", "bytearray"),
        ("zodbpickle", "binary"),
    ):
        helper = found.find(module, name)
        for state in ({"x": 1}, (None, {"x": 1}), (None, {"__call__": set})):
            # BUILD on the function itself.
            data = f"c{module}\n{name}\n".encode() + pickle.dumps(state, 3)[2:-1] + b"b."
            unpickler = PersistentUnpickler(found.find, None, BytesIO(data))
            with pytest.raises((AttributeError, TypeError)):
                unpickler.load()
        assert not hasattr(helper, "x")


def test_a_bytearray_is_made_of_bytes() -> None:
    made = allowed().find("builtins", "bytearray")
    assert made(b"x") == bytearray(b"x")
    assert made("\xff", "latin-1") == bytearray(b"\xff")
    for wrong in (2**40, [1, 2], None):
        with pytest.raises((TypeError, ValueError)):
            made(wrong)


# Where it is installed.


def test_wrapped_storages_are_found(tmp_path: Path) -> None:
    file = FileStorage(str(tmp_path / "Data.fs"))
    demo = DemoStorage(base=HexStorage(file), changes=HexStorage(MappingStorage()))
    found = list(resolving_storages(HexStorage(demo)))
    assert file in found
    assert demo in found
    demo.close()


# A whole server.


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a server of a FileStorage with these settings; return its address."""
    stops: list[Callable[[], None]] = []

    def start(**settings: str) -> Any:
        lines = [f"{key.replace('_', '-')} {value}" for key, value in settings.items()]
        conf = "\n".join(["<zeo>", "address 127.0.0.1:0", *lines, "</zeo>", ""])
        storage = (
            f"<filestorage>\npath {tmp_path}/Data.fs\nblob-dir {tmp_path}/blobs\n</filestorage>"
        )
        address, stop = zeotwisted.server(zeo_conf=conf, storage_conf=storage)
        stops.append(stop)
        return address

    yield start
    for stop in stops:
        stop()


def state(thing: Any) -> Any:
    return thing.__getstate__()


def conflict(
    make: Any, address: Any, change: Callable[[Any, int], None], read: Callable[[Any], Any] = state
) -> Any:
    """Let two connections change an object at the same time; return what `read` reads of it."""
    database = ZODB.DB(make(address))
    with closing(database):
        managers = [transaction.TransactionManager() for _ in range(2)]
        connections = [database.open(manager) for manager in managers]
        for number, connection in enumerate(connections):
            change(connection.root()["x"], number)
        try:
            for manager in managers:
                manager.commit()
        finally:
            for manager in managers:
                manager.abort()
        with database.transaction() as connection:
            return read(connection.root()["x"])


def put(address: Any, thing: Any) -> None:
    with closing(zeotwisted.DB(address)) as database, database.transaction() as connection:
        connection.root()["x"] = thing


def add(thing: Any, number: int) -> None:
    thing.n += number + 1


def insert(tree: Any, number: int) -> None:
    tree[number] = Adding()


@pytest.mark.parametrize("make", [zeotwisted.ClientStorage, StockStorage])
@pytest.mark.parametrize(
    "classes", [{}, {"conflict_classes": "none"}, {"conflict_classes": __name__}]
)
def test_conflicts_are_resolved_somewhere(
    serve: Callable[..., Any], make: Any, classes: dict[str, str]
) -> None:
    address = serve(**classes)
    put(address, Adding())
    assert conflict(make, address, add) == {"n": 3}
    put(address, Length(5))
    assert conflict(make, address, lambda length, number: length.change(number + 1)) == 8
    put(address, OOBTree({7: "x", 8: PersistentMapping()}))
    # The tree has a reference to a class that the server does not load.
    assert conflict(make, address, insert, list) == [0, 1, 7, 8]


def test_what_the_server_may_resolve_needs_no_client(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> bytes:
        raise AssertionError("the client was asked")

    monkeypatch.setattr(zeotwisted.ClientStorage, "tryToResolveConflict", never)
    address = serve()
    # References in the tree name a class that the server does not load.
    put(address, OOBTree({7: Adding()}))
    assert conflict(zeotwisted.ClientStorage, address, insert, list) == [0, 1, 7]
    put(address, Adding())
    with pytest.raises(AssertionError, match="the client was asked"):
        conflict(zeotwisted.ClientStorage, address, add)


@pytest.mark.parametrize("classes", ["none", __name__, "*"])
def test_a_conflict_that_nobody_can_resolve(serve: Callable[..., Any], classes: str) -> None:
    address = serve(conflict_classes=classes)
    put(address, Stubborn())
    with pytest.raises(ConflictError):
        conflict(zeotwisted.ClientStorage, address, lambda thing, n: setattr(thing, "n", n))


def test_an_undo_that_would_need_another_class(serve: Callable[..., Any]) -> None:
    address = serve()
    put(address, Adding())
    with closing(zeotwisted.DB(address)) as database:
        for _ in range(2):
            with database.transaction() as connection:
                connection.root()["x"].n += 1
        undo = database.undoLog(0, 2)[1]["id"]
        database.undo(undo)
        with pytest.raises(UndoError):
            transaction.commit()
        transaction.abort()


# Attacks.


class Attack:
    """Its pickle calls a function."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> Any:
        return self._call


def record(kind: Any, state: Any) -> bytes:

    return pickle.dumps(kind, 3) + pickle.dumps(state, 3)


def attack(server: Server, data: bytes) -> Any:
    """Store a record twice, and then one that conflicts; return the answer to the last vote."""
    client: PuppetClient = server.client()
    serials = [z64]
    for id in (1, 2, 3):
        client.tell("tpc_begin", id, "", "", {})
        client.tell("storea", OID_A, serials[:2][-1], data, id)
        result = client.ask("vote", id)
        if id < 3:
            serials.append(client.ask("tpc_finish", id))
    return result


@pytest.mark.parametrize("place", ["class", "arguments", "state", "state of a tree"])
@pytest.mark.parametrize("classes", [None, (), ("*",)])
def test_a_stored_function_is_not_called(
    tmp_path: Path, place: str, classes: tuple[str, ...] | None
) -> None:
    mark = tmp_path / "called"
    evil = Attack(os.mkdir, str(mark))
    data = {
        "class": record(evil, {}),
        "arguments": record((Length, (evil,)), 0),
        "state": record(Length, evil),
        "state of a tree": record(OOBTree, ((((b"x", evil),),),)),
    }[place]
    storage = FileStorage(str(tmp_path / "Data.fs"))
    server = Server(storage, conflict_classes=classes)
    if classes == ("*",):
        # The attack works: so the test can fail.
        with pytest.raises(ConflictError):
            attack(server, data)
        assert mark.exists()
    else:
        (left,), _ = attack(server, data)
        assert left["oid"] == OID_A
        assert not mark.exists()
    storage.close()


#: Beginnings of a record with which ZODB would load it, to name its class in an exception.
ODD = {
    "POP": b"\x80\x03N0",
    "a dict": b"\x80\x03}0",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93",
    "MARK": b"\x80\x03((N00",
    "protocol 0": b"N0",
}


@pytest.mark.parametrize("make", [MappingStorage, None])
@pytest.mark.parametrize("classes", [None, (), "all to clients"])
@pytest.mark.parametrize("beginning", ODD)
def test_a_record_is_not_loaded_to_name_its_class(
    tmp_path: Path, make: Any, classes: Any, beginning: str
) -> None:
    mark = tmp_path / "called"
    call = b"" if beginning == "STACK_GLOBAL" else b"cos\nmkdir\n"
    path = str(mark).encode()
    data = ODD[beginning] + call + b"(X" + len(path).to_bytes(4, "little") + path + b"tR."
    storage = make() if make else FileStorage(str(tmp_path / "Data.fs"))
    if classes == "all to clients":
        server = Server(storage, client_conflict_resolution=True)
    else:
        server = Server(storage, conflict_classes=classes)
    if make is MappingStorage and classes != "all to clients":
        # It resolves no conflicts, so that none is left to the client.
        with pytest.raises(ConflictError):
            attack(server, data)
    else:
        (left,), _ = attack(server, data)
        assert left["data"] == data
    assert not mark.exists()
    storage.close()


def test_records_that_take_long_to_load(tmp_path: Path) -> None:
    """A tuple of itself, 60 levels deep, as the key of a dict: hashing it takes 2**60 steps."""
    levels = b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60))
    deep = b")" + b"\x85" * 900_000
    for key in (b")" + levels, deep, b")" + b"2\x86" * 60):
        bomb = b"\x80\x02}" + key + b"K\x01s."
        assert not is_cheap_to_load(bomb)
        for data in (bomb, pickle.dumps(Length, 2) + bomb, pickle.dumps(OOBTree, 2) + bomb):
            storage = MappingStorage()
            (left,), _ = attack(Server(storage, client_conflict_resolution=True), data)
            assert left["data"] == data
            storage = FileStorage(str(tmp_path / "Data.fs"), create=True)
            (left,), _ = attack(Server(storage), data)
            assert left["data"] == data
            storage.close()


def test_usual_records_are_cheap(tmp_path: Path) -> None:
    database = ZODB.DB(FileStorage(str(tmp_path / "Data.fs")))
    with database.transaction() as connection:
        root = connection.root()
        root["tree"] = OOBTree({(str(n), n): PersistentMapping({n: "x"}) for n in range(500)})
        root["length"] = Length(5)
        root["adding"] = Adding()
    for number in range(700):
        try:
            data, _ = database.storage.load(number.to_bytes(8, "big"))
        except KeyError:
            break
        assert names_its_class_plainly(data)
        assert is_cheap_to_load(data), number
    assert number > 500
    database.close()


def test_a_class_that_is_known_by_a_number(tmp_path: Path) -> None:
    """The unpickler finds such classes without asking."""
    mark = tmp_path / "called"
    copyreg.add_extension("os", "mkdir", 1234)
    try:
        # The cache is what the unpickler looks into first.
        assert pickle.loads(b"\x80\x02\x83\xd2\x04.") is os.mkdir
        evil = b"\x83\xd2\x04" + pickle.dumps((str(mark),), 2)[2:-1] + b"R"
        storage = FileStorage(str(tmp_path / "Data.fs"))
        data = pickle.dumps(Length, 3) + b"\x80\x02" + evil + b"."
        (left,), _ = attack(Server(storage), data)
        assert left["oid"] == OID_A
        assert not mark.exists()
        storage.close()
    finally:
        copyreg.remove_extension("os", "mkdir", 1234)


def test_long_records_are_left_to_clients(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "Data.fs"))
    data = record(Length, 5) + b"x" * 2**20
    (left,), _ = attack(Server(storage), data)
    assert left["oid"] == OID_A
    storage.close()


def test_a_record_without_sense_is_left_to_the_client(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "Data.fs"))
    (left,), _ = attack(Server(storage), b"no pickle")
    assert left["data"] == b"no pickle"
    storage.close()


def test_a_wrapped_storage_calls_nothing_either(tmp_path: Path) -> None:
    mark = tmp_path / "called"
    file = FileStorage(str(tmp_path / "Data.fs"))
    storage = HexStorage(file)
    (left,), _ = attack(Server(storage), record(Length, Attack(os.mkdir, str(mark))))
    assert left["oid"] == OID_A
    assert not mark.exists()
    storage.close()
