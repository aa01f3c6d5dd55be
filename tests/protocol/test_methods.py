"""An argument of the wrong kind never gets past the table of calls."""

from __future__ import annotations

from typing import Any

import pytest

from zeotwisted.protocol import methods
from zeotwisted.protocol.methods import CLIENT_CALLS, SERVER_CALLS, BadArguments, Call
from zeotwisted.protocol.roles import ALL_ROLES, Role, expanded

from . import examples

OID = b"\0" * 8

#: For each kind, what it takes and what it does not.
KINDS: dict[str, tuple[list[Any], list[Any]]] = {
    "oid": ([OID], [b"", b"1234567", b"123456789", "12345678", None, 1, bytearray(8), (OID,)]),
    "oid_or_none": ([OID, None], [b"", "12345678", 0, False]),
    "tid_or_none": ([OID, None], [b"", "12345678", 0, False]),
    "serial": (
        [OID, None, b"", b"x" * 255, "", "\0" * 8, "x" * 255],
        [b"x" * 256, "x" * 256, 0, (OID,), bytearray(8)],
    ),
    "data": ([b"", b"x"], ["x", None, bytearray(b"x"), 1]),
    "data_or_none": ([b"", None], ["x", bytearray(b"x"), 1]),
    "text": (["", "x", b"x"], [None, 1, ("x",)]),
    "name": (["", "x"], [b"x", None, 1]),
    "reason": (["", "x" * 200], ["x" * 201, b"x", None, 1]),
    "integer": ([0, -1, 2**70], [True, 1.0, None, "1", b"1"]),
    "integer_or_none": ([0, 5, None], [True, 1.0, "1"]),
    "number": ([0, 1.5], [True, None, "1", 1j]),
    "flag": ([True, False, 0, 1, None], ["", b"", 1.0, ()]),
    "mapping": ([{}, {"a": 1}], [None, (), [("a", 1)]]),
    "extension": ([{}, {"a": 1}, b"", b"x"], [None, (), "x", bytearray()]),
    "mapping_or_none": ([{}, None], [(), 0]),
    "oids": ([(), [], (OID,), [OID, OID]], [None, OID, {OID}, (b"x",), [None]]),
    "at_most_1000_oids": (
        [(OID,), [OID] * 1000],
        [(), [], (OID,) * 1001, None, OID, (b"x",), [None]],
    ),
    "at_most_1000_joined_oids": (
        [b"", OID, OID * 1000],
        [OID * 1001, b"x", OID + b"x", None, bytearray(OID), (OID,)],
    ),
    "index": ([0, 1, 2**31 - 1], [-1, 2**31, True, 1.0, None, "1"]),
    "up_to_1000": ([0, 1, 1000], [-1, 1001, True, 1.0, None, "1"]),
    "up_to_a_mebibyte": ([0, 1, 2**20], [-1, 2**20 + 1, True, 1.0, None]),
    "capabilities": (
        [
            {},
            {"a": {}, "b": {"c": (1, {"d": b"e"})}},
            {"a" * 100: {}},
            {str(n): {} for n in range(100)},
        ],
        [None, (), {"a": None}, {"a": ()}, {b"a": {}}, {"a": {b"b": 1}}, {1: {}}, {"a" * 101: {}}]
        + [{str(n): {} for n in range(101)}],
    ),
    "integers": ([(), [], (1,), [1, 2]], [None, 1, ("x",), [1.0], [True]]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: str) -> None:
    check = getattr(methods, kind)
    good, bad = KINDS[kind]
    for value in good:
        assert check(value), value
    for value in bad:
        assert not check(value), value


def test_every_kind_in_the_tables_is_tested() -> None:
    used = {
        kind.__name__
        for table in (SERVER_CALLS, CLIENT_CALLS)
        for call in table.values()
        for kind in (*call.kinds, *call.stock_kinds)
    }
    assert used <= set(KINDS)


@pytest.mark.parametrize("name", SERVER_CALLS)
def test_calls(name: str) -> None:
    call = SERVER_CALLS[name]
    assert call.name == name
    assert 0 <= call.required <= len(call.kinds)
    calls = (examples.CALLS | examples.EXTENDED_CALLS)[name]
    for args in calls:
        call.check(args)
    args = calls[0]
    with pytest.raises(BadArguments):
        call.check((*args, *[None] * (len(call.kinds) - len(args) + 1)))
    if call.required:
        with pytest.raises(BadArguments):
            call.check(args[: call.required - 1])
    for container in (None, list(args), {}, "x"):
        with pytest.raises(BadArguments):
            call.check(container)
    for index in range(len(args)):
        # No argument of any call is an object of this kind.
        with pytest.raises(BadArguments, match=name):
            call.check((*args[:index], 1j, *args[index + 1 :]))


@pytest.mark.parametrize("name", CLIENT_CALLS)
def test_pushes(name: str) -> None:
    call = CLIENT_CALLS[name]
    args = (examples.PUSHES | examples.EXTENDED_PUSHES)[name]
    call.check(args)
    assert call.oneway
    with pytest.raises(BadArguments):
        call.check(args[:-1] if args else (None,))
    for index in range(len(args)):
        with pytest.raises(BadArguments):
            call.check((*args[:index], 1j, *args[index + 1 :]))


def test_one_way_calls_are_those_that_stock_clients_send_so() -> None:
    assert {name for name, call in SERVER_CALLS.items() if call.oneway} == examples.ONEWAY


def test_the_calls_are_those_of_a_stock_server() -> None:
    from ZEO.asyncio.client import Protocol
    from ZEO.StorageServer import registered_methods

    assert set(SERVER_CALLS) - examples.EXTENSIONS | {"ping"} == registered_methods | {"register"}
    assert set(CLIENT_CALLS) - examples.EXTENSIONS == set(Protocol.client_methods)


#: The role that each call needs.
ROLES = {
    Role.NONE: {
        "authenticate",
        "authenticate_final",
        "capabilities",
        "register",
        "get_info",
        "lastTransaction",
        "server_status",
        "server_limits",
        "pack_progress",
        "ping",
        "set_client_label",
    },
    Role.READ: {
        "getInvalidations",
        "loadAhead",
        "loadBefore",
        "loadManyBefore",
        "load_popular",
        "popular_oids",
        "used_oids",
        "loadSerial",
        "getTid",
        "history",
        "record_iternext",
        "record_oids",
        "sendBlob",
        "undoLog",
        "undoInfo",
        "iterator_start",
        "iterator_next",
        "iterator_record_start",
        "iterator_record_next",
        "iterator_gc",
        "changes_start",
        "changes_next",
        "tpc_committed",
        "tpc_outcome",
    },
    Role.WRITE: {
        "new_oid",
        "new_oids",
        "tpc_begin",
        "storea",
        "deleteObject",
        "checkCurrentSerialInTransaction",
        "storeBlobStart",
        "storeBlobChunk",
        "storeBlobEnd",
        "storeBlobShared",
        "vote",
        "vote_within",
        "tpc_finish",
        "tpc_abort",
    },
    Role.UNDO: {"undoa"},
    Role.PACK: {"pack", "pack_room", "cancel_pack"},
    Role.FOLLOW: {"standby_has"},
    Role.ADMINISTER: {
        "restorea",
        "restoreBlobEnd",
        "server_clients",
        "server_locks",
        "disconnect_client",
        "promote",
    },
}


def test_each_call_needs_the_role_that_it_should() -> None:
    assert set(ROLES) == set(Role)
    for role, names in ROLES.items():
        assert {name for name, call in SERVER_CALLS.items() if call.role is role} == names, role


def test_a_call_without_a_role_cannot_be_added() -> None:
    with pytest.raises(TypeError, match="role"):
        Call("new", (), 0, False)  # type: ignore[call-arg]
    for call in SERVER_CALLS.values():
        assert type(call.role) is Role, call.name


def test_calls_of_a_transaction() -> None:
    """A client that reads only may make none of these; it may look at the server and steer it."""
    writing = ROLES[Role.WRITE] | ROLES[Role.UNDO] | {"restorea", "restoreBlobEnd"}
    assert {name for name, call in SERVER_CALLS.items() if call.writes} == writing


def test_roles_include_others() -> None:
    assert expanded(()) == {Role.NONE}
    assert expanded({Role.READ}) == {Role.NONE, Role.READ}
    assert expanded({Role.PACK}) == {Role.NONE, Role.PACK}
    assert expanded({Role.FOLLOW}) == {Role.NONE, Role.READ, Role.FOLLOW}
    assert expanded({Role.WRITE}) == {Role.NONE, Role.READ, Role.WRITE}
    assert expanded({Role.UNDO}) == {Role.NONE, Role.READ, Role.WRITE, Role.UNDO}
    assert expanded({Role.ADMINISTER}) == ALL_ROLES == set(Role)


def test_version_5_takes_more() -> None:
    """ZEO's servers check nothing, and their clients rely on it here and there."""
    for name, args in (
        ("storea", (OID, "", b"data", 1)),
        ("storea", (OID, "\0" * 8, b"data", 1)),
        ("storea", (OID, b"", b"data", 1)),
        ("deleteObject", (OID, "", 1)),
        ("checkCurrentSerialInTransaction", (OID, "", 1)),
        ("storeBlobEnd", (OID, "", b"data", 1)),
        ("storeBlobShared", (OID, "", b"data", "name", 1)),
        ("history", (None, None)),
        ("history", (OID, None)),
    ):
        SERVER_CALLS[name].check(args, extended=False)
        with pytest.raises(BadArguments):
            SERVER_CALLS[name].check(args)


@pytest.mark.parametrize("name", SERVER_CALLS)
def test_version_5_takes_what_version_6_does(name: str) -> None:
    call = SERVER_CALLS[name]
    assert len(call.stock_kinds) in (0, len(call.kinds))
    for args in (examples.CALLS | examples.EXTENDED_CALLS)[name]:
        call.check(args, extended=False)
    for index in range(len(args)):
        with pytest.raises(BadArguments, match=name):
            call.check((*args[:index], 1j, *args[index + 1 :]), extended=False)
