"""The exchange of capabilities, byte for byte, and between the two ends."""

from __future__ import annotations

from typing import Any

from zeotwisted.protocol import agreed
from zeotwisted.protocol.capabilities import (
    CHANGES,
    DROPPED,
    GOODBYE,
    LOAD_AHEAD,
    OPERATORS,
    STANDBY,
    TID_AT_VOTE,
    VOTE_WITHIN,
    WARM_START,
)
from zeotwisted.protocol.codecs import CODECS
from zeotwisted.protocol.framing import encode_frame

from ..ordering.puppets import Client, PuppetServer, Server

#: What ``docs/reference/protocol.rst`` shows.
GOLDEN = {
    "offer": (
        (1, 0, "capabilities", ("1", {"tid-at-vote": {}})),
        "00000021 94 01 00 ac6361706162696c6974696573 92 a131 81 ab7469642d61742d766f7465 80",
    ),
    "answer": (
        (1, 0, ".reply", {"tid-at-vote": {}}),
        "00000018 94 01 00 a62e7265706c79 81 ab7469642d61742d766f7465 80",
    ),
}


def test_bytes() -> None:
    for message, text in GOLDEN.values():
        frame = bytes.fromhex(text)
        assert encode_frame(CODECS[b"M"].encode(message)) == frame
        assert CODECS[b"M"].decode(frame[4:]) == message


def test_what_both_name_is_used() -> None:
    ours = {"a": {"size": 1}, "b": {}}
    assert agreed(ours, {"a": {"size": 2}, "c": {}}) == {"a": {"size": 2}}
    assert agreed(ours, {}) == {}
    assert agreed({}, ours) == {}


def test_server_ignores_what_it_does_not_know() -> None:
    client = Server().client(register=False)
    offered: dict[str, Any] = {"telepathy": {"range": 7}, TID_AT_VOTE: {"later": "parameter"}}
    assert client.ask("capabilities", "1", offered) == {
        CHANGES: {},
        DROPPED: {},
        GOODBYE: {},
        LOAD_AHEAD: {},
        OPERATORS: {},
        STANDBY: {"synchronous": False},
        TID_AT_VOTE: {},
        VOTE_WITHIN: {},
        WARM_START: {},
    }
    client.ask("register", "1", False)
    client.begin(1)
    result, tid = client.ask("vote", 1)
    assert (result, len(tid)) == ((), 8)


def test_client_ignores_what_it_does_not_know() -> None:
    client = Client()
    PuppetServer(client, capabilities={"telepathy": {"range": 7}}).establish()
    assert not client.storage._link.protocol().capabilities


def test_client_that_offers_nothing() -> None:
    """It does not have to send its capabilities."""
    client = Server().client(register=False)
    client.ask("register", "1", False)
    client.begin(1)
    assert client.ask("vote", 1) == ()


def test_storage_that_the_server_does_not_have() -> None:
    client = Server().client(register=False)
    assert client.ask("capabilities", "another", {TID_AT_VOTE: {}}) == {
        CHANGES: {},
        DROPPED: {},
        GOODBYE: {},
        LOAD_AHEAD: {},
        OPERATORS: {},
        VOTE_WITHIN: {},
        WARM_START: {},
    }


def test_capabilities_of_a_wrong_form_end_the_attempt() -> None:
    client = Client()
    wrong: Any = {"tid-at-vote": 5}
    server = PuppetServer(client, capabilities=wrong)
    server.deliver(server.answer(server.next("register"), b"\0" * 8))
    assert server.transport.disconnecting or server.transport.disconnected
    assert not client.storage.is_connected()
