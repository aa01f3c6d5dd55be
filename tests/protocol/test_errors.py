"""What an exception tells survives the wire: its class, its arguments, its attributes."""

from __future__ import annotations

import errno
import pathlib
import pickle
from typing import Any

import pytest
from transaction.interfaces import DoomedTransaction, TransientError
from ZEO.asyncio import client as zeo_client
from ZEO.asyncio import marshal
from ZODB import POSException
from ZODB.FileStorage.FileStorage import FileStorageError
from ZODB.interfaces import BlobError

from zeotwisted.exceptions import ClientDisconnected, ServerException
from zeotwisted.protocol.codecs import CODECS
from zeotwisted.protocol.errors import exception_from_wire, exception_to_wire
from zeotwisted.protocol.session import ClientHandshake, Failed, ServerHandshake, Session

OID, TID = b"\0" * 7 + b"\1", b"\0" * 7 + b"\2"

ways = pytest.mark.parametrize(
    ("letter", "extended"), [(b"Z", False), (b"M", False), (b"M", True)], ids=["Z5", "M5", "M6"]
)


def sent(error: BaseException, letter: bytes, extended: bool) -> Any:
    codec = CODECS[letter]
    return codec.decode(codec.encode((1, 2, ".reply", exception_to_wire(error, extended))))[3]


def travel(error: BaseException, letter: bytes = b"M", extended: bool = True) -> Any:
    return exception_from_wire(sent(error, letter, extended))


# Files.


@ways
@pytest.mark.parametrize(
    ("error", "class_"),
    [
        (OSError(errno.ENOENT, "No such file", "/a/b"), FileNotFoundError),
        (OSError(errno.ENOSPC, "No space left on device", "/var/spool"), OSError),
        (OSError(errno.EACCES, "Permission denied", b"/bytes"), PermissionError),
        (OSError(errno.EEXIST, "File exists", "a", None, "b"), FileExistsError),
        (OSError(errno.ECONNREFUSED, "refused"), ConnectionRefusedError),
        (OSError(errno.ENOENT, "No such file", pathlib.PurePosixPath("/p")), FileNotFoundError),
        (OSError("only a text"), OSError),
        (OSError(), OSError),
        (TimeoutError("too slow"), TimeoutError),
    ],
)
def test_errors_of_the_operating_system_keep_their_files(
    letter: bytes, extended: bool, error: OSError, class_: type[OSError]
) -> None:
    arrived = travel(error, letter, extended)
    assert isinstance(arrived, class_)
    # It is not this process's own.
    assert isinstance(arrived, ServerException)
    assert str(arrived).replace("PurePosixPath('/p')", "'/p'") == str(error).replace(
        "PurePosixPath('/p')", "'/p'"
    )
    for name in ("errno", "strerror", "filename2"):
        assert getattr(arrived, name) == getattr(error, name)
    assert arrived.filename in (error.filename, str(error.filename))
    again = pickle.loads(pickle.dumps(arrived))
    assert (type(again), str(again)) == (type(arrived), str(arrived))


def test_file_names_that_are_no_text() -> None:
    arrived = travel(OSError(errno.ENOENT, "No such file", b"/\xff".decode("utf-8", "replace")))
    assert arrived.filename == "/\ufffd"
    arrived = travel(OSError(errno.ENOENT, "No such file", "/\udcff"))
    assert isinstance(arrived, FileNotFoundError)
    assert arrived.filename == "/\\udcff"


@pytest.mark.parametrize("protocol", [b"Z5", b"M5", b"M6"])
def test_a_session_tells_each_peer_what_it_takes(protocol: bytes) -> None:
    server = Session(ServerHandshake(protocol[:1] == b"M", protocol[1:] == b"6"))
    client = Session(ClientHandshake())
    list(client.receive(server.greeting))
    list(server.receive(client.greeting))
    client.registered()
    error = Missing(OID, "a table")
    (failed,) = client.receive(server.failure(1, error))
    assert type(failed) is Failed
    assert type(failed.error) is POSException.POSKeyError
    assert getattr(failed.error, "where", None) == ("a table" if protocol == b"M6" else None)
    (failed,) = client.receive(server.failure(2, OSError(2, "No such file", "/x")))
    assert type(failed) is Failed
    assert isinstance(failed.error, FileNotFoundError)
    assert failed.error.filename == "/x"


# Classes that are derived from known ones.


class Missing(POSException.POSKeyError):
    def __init__(self, oid: bytes, where: str) -> None:
        super().__init__(oid)
        self.where = where


class TableConflict(POSException.ConflictError):
    """As other packages have them: with arguments of its own."""

    def __init__(self, table: str) -> None:
        super().__init__(f"in {table}", oid=OID, serials=(TID, OID))
        self.table = table


class Busy(FileStorageError):
    """Twice removed from what is known."""


class DeepConflict(POSException.BTreesConflictError, ValueError):
    pass


class Late(TransientError):
    pass


@ways
@pytest.mark.parametrize(
    ("error", "class_"),
    [
        (Missing(OID, "a table"), POSException.POSKeyError),
        (TableConflict("object_state"), POSException.ConflictError),
        (Busy("already packing"), POSException.StorageError),
        (DeepConflict(1, 2, 3, 4), POSException.BTreesConflictError),
        (Late("try again"), TransientError),
        (ClientDisconnected("gone"), POSException.StorageError),
        (type("Own", (KeyError,), {})("k"), KeyError),
        (type("Own", (POSException.ReadOnlyError,), {})(), POSException.ReadOnlyError),
        (type("Own", (POSException.UndoError,), {})("why", OID), POSException.UndoError),
        (type("Own", (BlobError,), {})("no blob"), BlobError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else type(value).__name__,
)
def test_the_nearest_known_class_stands_for_others(
    letter: bytes, extended: bool, error: Exception, class_: type[Exception]
) -> None:
    arrived = travel(error, letter, extended)
    if not extended and class_ in (
        POSException.StorageError,
        POSException.UndoError,
        BlobError,
        TransientError,
    ):
        # ZEO's clients would not make them again, and show the name.
        assert arrived.args[0] == f"{type(error).__module__}.{type(error).__name__}"
        return
    assert type(arrived) is class_
    assert str(arrived) == str(error)
    if extended:
        own = f"{type(error).__module__}.{type(error).__name__}"
        assert arrived.server_class == own
        assert {**vars(arrived), "server_class": None} == {**vars(error), "server_class": None}


@ways
@pytest.mark.parametrize(
    "class_",
    [
        class_
        for class_ in vars(POSException).values()
        if isinstance(class_, type)
        and issubclass(class_, POSException.POSError)
        and class_.__init__ is Exception.__init__
    ]
    + [BlobError, DoomedTransaction, TransientError],
    ids=lambda class_: class_.__name__,
)
def test_exceptions_of_zodb(letter: bytes, extended: bool, class_: type[Exception]) -> None:
    error = class_(OID, "text")
    arrived = travel(error, letter, extended)
    assert isinstance(arrived, class_)
    assert arrived.args == error.args
    assert type(arrived) is class_


@ways
def test_errors_pass_a_server_that_is_a_client_itself(letter: bytes, extended: bool) -> None:
    unknown: Any = type("Unknown", (Exception,), {"__module__": "some"})("whatever", 3)
    unknown.code = 7
    for error in (OSError(2, "No such file", "/x"), unknown, Missing(OID, "a table")):
        once = travel(error, letter, extended)
        twice = travel(once, letter, extended)
        assert type(twice) is type(once)
        assert (twice.args, str(twice), vars(twice)) == (once.args, str(once), vars(once))


# Attributes.


@pytest.mark.parametrize(
    "error",
    [
        KeyError("k"),
        TypeError("t"),
        POSException.POSKeyError(OID),
        POSException.ReadOnlyError(),
        POSException.StorageError("broken"),
        POSException.ConflictError("m", oid=OID, serials=(TID, OID)),
        POSException.BTreesConflictError(1, 2, 3, 4),
        POSException.UndoError("why", OID),
        POSException.MultipleUndoErrors([("why", OID)]),
        POSException.DanglingReferenceError(OID, TID),
        OSError(2, "No such file", "/x"),
        ValueError("unknown storage"),
        type("Unknown", (Exception,), {})("whatever", 3),
    ],
    ids=lambda error: type(error).__name__,
)
def test_attributes_arrive(error: Any) -> None:
    attributes = {"retry_after": 5, "table": "object_state", "more": ("a", b"b", None)}
    vars(error).update(attributes)
    arrived = travel(error)
    for name, value in attributes.items():
        assert getattr(arrived, name) == value
    known = not isinstance(arrived, ServerException) or isinstance(arrived, OSError)
    assert str(arrived) == str(error) or not known
    if not known:
        assert arrived.args[0].endswith(type(error).__name__)
        assert arrived.args[1]["args"] == error.args


@pytest.mark.parametrize("letter", [b"Z", b"M"])
def test_zeos_clients_get_all_that_they_take(letter: bytes) -> None:
    """Theirs make some exceptions again from arguments, some from attributes, and show the rest."""
    for error in (Missing(OID, "a table"), TableConflict("object_state")):
        name, state = sent(error, letter, False)
        assert zeo_client.exc_factories[name](name, state).args == error.args[:1] or state
        assert str(zeo_client.exc_factories[name](name, state)) == str(error)
    error = FileNotFoundError(2, "No such file", "/a/b")
    assert sent(error, letter, False) == ("builtins.FileNotFoundError", error.args + ("/a/b",))
    unknown: Any = type("Unknown", (Exception,), {"__module__": "some"})("whatever", 3)
    unknown.code = 7
    # Their own server tells the attributes and loses the arguments.
    assert marshal.reduce_exception(unknown) == ("some.Unknown", {"code": 7})
    assert sent(unknown, letter, False) == ("some.Unknown", {"code": 7, "args": ("whatever", 3)})


@pytest.mark.parametrize("letter", [b"Z", b"M"])
@pytest.mark.parametrize("oid", [OID, None])
def test_one_failed_undo_for_zeos_clients(letter: bytes, oid: bytes | None) -> None:
    """RelStorage raises an exception that they cannot make again, but they can make several."""
    error = POSException.UndoError("why", oid)
    name, state = sent(error, letter, False)
    made = zeo_client.exc_factories[name](name, state)
    assert isinstance(made, POSException.UndoError)
    assert str(made) == str(error)
    # Ours make it as it was.
    assert type(exception_from_wire(sent(error, letter, True))) is POSException.UndoError


def test_attributes_from_zeos_servers() -> None:
    arrived: Any = exception_from_wire(("some.Unknown", {"code": 7}))
    assert type(arrived) is ServerException
    assert arrived.code == 7
    assert arrived.args == ("some.Unknown", {"code": 7})


def test_attributes_that_are_no_entries_of_a_dict() -> None:
    class Slotted(POSException.StorageError):
        __slots__ = ("code",)

    error = Slotted("x")
    error.code = 9
    assert travel(error).code == 9
    missing = ModuleNotFoundError("no x", name="x", path="/y")
    assert (travel(missing).name, travel(missing).path) == ("x", "/y")


def test_notes_arrive() -> None:
    error: Any = POSException.StorageError("x")
    error.__notes__ = ["look at the disk"]
    assert travel(error).__notes__ == ["look at the disk"]


def test_exceptions_within_exceptions() -> None:
    error: Any = POSException.StorageError("x")
    error.reason = OSError(2, "No such file", "/y")
    arrived = travel(error)
    assert isinstance(arrived.reason, FileNotFoundError)
    assert arrived.reason.filename == "/y"


@pytest.mark.parametrize(
    "name",
    ["__class__", "__traceback__", "__cause__", "with_traceback", "add_note", "not a name", "", 5],
)
def test_attributes_that_a_peer_may_not_set(name: Any) -> None:
    for class_ in ("ZODB.POSException.StorageError", "some.Unknown"):
        arrived = exception_from_wire((class_, {"args": ("x",), name: "theirs"}))
        assert name not in vars(arrived)
        assert arrived.__cause__ is None


# Exceptions that are broken themselves.


class Broken(Exception):
    """Everything that it is asked for fails."""

    def __str__(self) -> str:
        raise RuntimeError("str")

    __repr__ = __str__

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class BrokenConflict(POSException.ConflictError):
    def __init__(self) -> None:
        pass

    @property
    def serials(self) -> Any:
        raise RuntimeError("serials")


@ways
def test_broken_exceptions_arrive_all_the_same(letter: bytes, extended: bool) -> None:
    arrived = travel(Broken("x"), letter, extended)
    assert type(arrived) is ServerException
    assert "Broken" in str(arrived) and "x" in str(arrived)
    assert type(travel(BrokenConflict(), letter, extended)) is POSException.ConflictError


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("repr")


def _odd() -> list[Any]:
    itself: list[Any] = []
    itself.append(itself)
    deep: Any = ()
    for _ in range(5000):
        deep = (deep,)
    return [
        object(),
        Unprintable(),
        2**70,
        10**5000,
        float("nan"),
        "\ud800",
        {"a", "b"},
        {object(): 1, (1, 2): 2, "x": {"y": object}},
        itself,
        deep,
        [0] * 10**6,
        "x" * 10**7,
        b"x" * 10**7,
        type("Text", (str,), {})("own text"),
        type("Number", (int,), {})(7),
        type("Bytes", (bytes,), {})(b"own bytes"),
        lambda: None,
    ]


@ways
@pytest.mark.parametrize("index", range(len(_odd())))
def test_odd_values_are_described(letter: bytes, extended: bool, index: int) -> None:
    value = _odd()[index]
    for error in (POSException.StorageError("text", value), Exception("text", value)):
        vars(error)["odd"] = value
        codec = CODECS[letter]
        data = codec.encode((1, 2, ".reply", exception_to_wire(error, extended)))
        assert len(data) < 10**6
        arrived = exception_from_wire(codec.decode(data)[3])
        assert "text" in str(arrived)
        assert hasattr(arrived, "odd")


def test_an_exception_that_contains_itself() -> None:
    error: Any = POSException.StorageError("x")
    error.own = error
    assert type(travel(error).own) is POSException.StorageError


@pytest.mark.parametrize("number", [1, 2, 180, 1000])
@pytest.mark.parametrize("reason", [POSException.UndoError("why", OID), "a text", None])
def test_failed_undo_of_many_objects_can_be_shown(number: int, reason: Any) -> None:
    """A storage gives exceptions as the reasons, and `str` of the error needs them as texts."""
    error = POSException.MultipleUndoErrors([(OID, reason)] * number)
    shown = str(error).splitlines()[:300]
    assert str(travel(error)).splitlines() == shown
    for letter in (b"Z", b"M"):
        name, state = sent(error, letter, False)
        assert str(zeo_client.exc_factories[name](name, state)).splitlines() == shown
