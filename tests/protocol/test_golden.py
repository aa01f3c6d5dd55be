"""What stock ZEO sends is understood, and what we send is understood by stock ZEO."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ZEO.asyncio import client as zeo_client
from ZEO.asyncio import marshal
from ZODB import POSException

from zeotwisted.exceptions import ServerException
from zeotwisted.protocol.codecs import CODECS
from zeotwisted.protocol.errors import exception_from_wire, exception_to_wire
from zeotwisted.protocol.framing import encode_frame
from zeotwisted.protocol.methods import CLIENT_CALLS, SERVER_CALLS
from zeotwisted.protocol.session import (
    Called,
    ClientHandshake,
    Failed,
    HandshakeDone,
    Replied,
    ServerHandshake,
    Session,
)
from zeotwisted.protocol.undo import Prefix

from . import examples

GOLDEN = json.loads((Path(__file__).parent / "golden" / "messages.json").read_text())

MESSAGES = {name: message for _side, name, message in examples.messages()}
ERRORS = dict(examples.exceptions())


def _cases(kind: dict[str, Any]) -> list[Any]:
    return [
        pytest.param(entry, id=f"{entry['protocol']} {entry['name']}")
        for entry in GOLDEN["messages"]
        if entry["name"] in kind
    ]


def as_msgpack(value: Any) -> Any:
    """Return `value` as it looks after msgpack, which knows one kind of sequence."""
    if isinstance(value, (list, tuple)):
        return tuple(map(as_msgpack, value))
    if isinstance(value, dict):
        return {key: as_msgpack(item) for key, item in value.items()}
    return value


def codec_of(entry: dict[str, Any]) -> Any:
    return CODECS[entry["protocol"][:1].encode()]


def test_every_call_push_and_exception_is_in_the_file() -> None:
    for protocol in ("Z5", "M5"):
        names = {entry["name"] for entry in GOLDEN["messages"] if entry["protocol"] == protocol}
        assert {
            f"call {name} 0" for name in set(SERVER_CALLS) - set(examples.EXTENDED_CALLS)
        } <= names
        assert {f"push {name}" for name in set(CLIENT_CALLS) - examples.EXTENSIONS} <= names
        assert set(ERRORS) <= names
        assert {name for name in MESSAGES if not examples.only_pickle(name)} <= names


@pytest.mark.parametrize("entry", _cases(MESSAGES))
def test_decoder_understands_what_zeo_encodes(entry: dict[str, Any]) -> None:
    expected: Any = MESSAGES[entry["name"]]
    decoded = codec_of(entry).decode(bytes.fromhex(entry["bytes"]))
    if entry["name"] == examples.PREFIX:
        prefix = decoded[3][2]["user_name"]
        assert type(prefix) is Prefix
        assert prefix.parts == ["", "acl_users", "x"]
        return
    assert decoded == (as_msgpack(expected) if entry["protocol"] == "M5" else expected)


@pytest.mark.parametrize("entry", _cases(MESSAGES))
def test_zeo_understands_what_encoder_makes(entry: dict[str, Any]) -> None:
    if entry["name"] == examples.PREFIX:
        pytest.skip("our client sends no Prefix of its own class")
    id, flag, name, args = MESSAGES[entry["name"]]
    encoded = codec_of(entry).encode((id, int(flag), name, args))
    protocol = entry["protocol"].encode()
    decode = marshal.server_decoder if entry["side"] == "client" else marshal.decoder
    golden = bytes.fromhex(entry["bytes"])
    assert decode(protocol)(encoded) == decode(protocol)(golden)
    if protocol == b"M5":
        # ZEO sends the flag of a call as a boolean.
        assert codec_of(entry).encode((id, flag, name, args)) == golden


@pytest.mark.parametrize("entry", _cases(MESSAGES))
def test_tables_accept_what_clients_and_servers_send(entry: dict[str, Any]) -> None:
    _id, flag, name, args = codec_of(entry).decode(bytes.fromhex(entry["bytes"]))
    if name == ".reply":
        return
    calls = SERVER_CALLS if entry["side"] == "client" else CLIENT_CALLS
    calls[name].check(args)
    assert calls[name].oneway == bool(flag)


@pytest.mark.parametrize("entry", _cases(ERRORS))
def test_exceptions_arrive(entry: dict[str, Any]) -> None:
    expected = ERRORS[entry["name"]]
    _id, flag, name, wire = codec_of(entry).decode(bytes.fromhex(entry["bytes"]))
    assert (flag, name) == (2, ".reply")
    error = exception_from_wire(wire)
    if type(expected) in (ValueError, examples.Unknown):
        assert type(error) is ServerException
        assert error.args == wire
        assert error.args[0].rpartition(".")[2] == type(expected).__name__
    else:
        assert type(error) is type(expected)
        assert str(error) == str(expected)
        assert error.args == expected.args or vars(expected)
        assert as_msgpack(vars(error)) == as_msgpack(vars(expected))


@pytest.mark.parametrize("entry", _cases(ERRORS))
def test_zeo_understands_our_exceptions(entry: dict[str, Any]) -> None:
    expected = ERRORS[entry["name"]]
    protocol = entry["protocol"].encode()
    encoded = codec_of(entry).encode((7, 2, ".reply", exception_to_wire(expected)))
    name, state = marshal.decoder(protocol)(encoded)[3]
    assert (name, as_msgpack(state)) == as_msgpack(marshal.reduce_exception(expected))
    factory = zeo_client.exc_factories.get(name)
    if factory is not None:
        error = factory(name, state)
        assert type(error) is type(expected)
        assert str(error) == str(expected)
    if protocol == b"M5":
        assert encoded.hex() == entry["bytes"]


def test_zeo_has_factories_for_what_needs_to_arrive_as_itself() -> None:
    # Guards the test above against a table that became empty or was renamed.
    ours = {marshal.reduce_exception(error)[0] for error in ERRORS.values()}
    theirs = {name for name in zeo_client.exc_factories if not name.startswith("exceptions.")}
    assert theirs <= ours


@pytest.mark.parametrize(
    "wire",
    [
        None,
        (),
        ("x",),
        ("x", 1, 2),
        (b"builtins.KeyError", ()),
        [1, 2],
        5,
        ({"a": 1}, ()),
    ],
)
def test_malformed_exceptions_become_server_exceptions(wire: Any) -> None:
    assert type(exception_from_wire(wire)) is ServerException


@pytest.mark.parametrize(
    "wire",
    [
        ("builtins.KeyError", None),
        ("builtins.KeyError", "text"),
        ("builtins.KeyError", {"__notes__": ("a note",)}),
        ("ZODB.POSException.ConflictError", ()),
        ("ZODB.POSException.ConflictError", {"message": "m"}),
        ("ZODB.POSException.MultipleUndoErrors", {"_errs": ()}),
        ("ZODB.POSException.MultipleUndoErrors", {"_errs": (5,)}),
        ("ZODB.POSException.UndoError", {}),
        ("ZODB.POSException.BTreesConflictError", {"p1": 1}),
        ("os.system", ("true",)),
    ],
)
def test_states_that_a_class_does_not_take_keep_the_peers_words(wire: Any) -> None:
    error = exception_from_wire(wire)
    assert type(error) is ServerException
    assert error.args == wire


def test_old_name_of_the_builtins_is_known() -> None:
    error = exception_from_wire(("exceptions.KeyError", ("k",)))
    assert type(error) is KeyError
    assert error.args == ("k",)


def test_unsendable_attributes_of_exceptions_are_described() -> None:
    error = POSException.StorageError(object)
    for codec in CODECS.values():
        wire = codec.decode(codec.encode((1, 2, ".reply", exception_to_wire(error))))[3]
        assert wire == ("ZODB.POSException.StorageError", ("<class 'object'>",))


@pytest.mark.parametrize("protocol", ["Z5", "M5"])
def test_recorded_sessions(protocol: str) -> None:
    """Both ends of a whole conversation are understood, in order and without an error."""
    server = Session(ServerHandshake())
    client = Session(ClientHandshake())
    called: list[str] = []
    pushed: list[str] = []
    waiting: dict[Any, str] = {}
    answers = 0
    for side, payload in GOLDEN["sessions"][protocol]:
        receiver = server if side == "client" else client
        for event in receiver.receive(encode_frame(bytes.fromhex(payload))):
            if isinstance(event, HandshakeDone):
                # Our client would have chosen what was announced, as ZEO's did.
                assert event.protocol == protocol.encode()
            elif isinstance(event, Called):
                assert event.error is None
                (called if receiver is server else pushed).append(event.call.name)
                assert (event.id is None) == event.call.oneway
                if event.id is not None:
                    waiting[event.id] = event.call.name
            else:
                assert isinstance(event, (Replied, Failed))
                answers += 1
                if waiting.pop(event.id) == "register":
                    server.registered()
                    client.registered()
    assert not waiting
    assert answers > 30
    assert {"tpc_begin", "storea", "vote", "tpc_finish", "storeBlobEnd", "pack"} <= set(called)
    assert {"info", "receiveBlobStart", "receiveBlobChunk", "receiveBlobStop"} <= set(pushed)


def test_capture_script_makes_the_stored_messages() -> None:
    """The file is what the script captures; the sessions differ by their times and addresses."""
    from . import capture_golden

    assert capture_golden.capture_messages() == GOLDEN["messages"]


def test_nothing_of_the_peers_is_imported() -> None:
    """Decoding a Prefix needs no Zope package."""
    payload = next(e["bytes"] for e in GOLDEN["messages"] if e["name"] == examples.PREFIX)
    program = (
        "import sys; from zeotwisted.protocol.codecs import CODECS\n"
        f"CODECS[b'Z'].decode(bytes.fromhex('{payload}'))\n"
        "assert 'ZopeUndo' not in sys.modules and 'twisted' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
