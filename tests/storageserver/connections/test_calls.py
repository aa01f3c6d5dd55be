"""Each call of the protocol has a function, and no function is without a call."""

from __future__ import annotations

import inspect

import pytest
from twisted.internet.task import Clock
from ZODB.POSException import ReadOnlyError

from zeotwisted.protocol import ALL_ROLES, SERVER_CALLS, WRITING
from zeotwisted.storageserver.connections.calls import _FUNCTIONS, perform
from zeotwisted.storageserver.connections.connection import ServerConnection
from zeotwisted.storageserver.connections.logins import Logins

WRITING_CALLS = sorted(
    name for name, call in SERVER_CALLS.items() if call.role in WRITING and not call.steers
)


def test_each_call_has_a_function() -> None:
    assert set(_FUNCTIONS) == set(SERVER_CALLS)


@pytest.mark.parametrize("name", sorted(SERVER_CALLS))
def test_the_function_takes_what_the_call_may_have(name: str) -> None:
    call = SERVER_CALLS[name]
    signature = inspect.signature(_FUNCTIONS[name])
    for number in (call.required, len(call.kinds)):
        signature.bind("the client", *range(number))


@pytest.mark.parametrize("name", WRITING_CALLS)
def test_readers_may_not_write(name: str) -> None:
    class Peer:
        label = "a reader"

    client = ServerConnection(Peer(), {}, Logins(Clock()))  # type: ignore[arg-type]
    client.roles = ALL_ROLES
    client.read_only = True
    with pytest.raises(ReadOnlyError):
        perform(client, SERVER_CALLS[name], ())
