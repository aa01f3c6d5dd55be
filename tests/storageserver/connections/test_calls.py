"""Each call of the protocol has a function, and no function is without a call."""

from __future__ import annotations

import inspect

import pytest
from ZODB.POSException import ReadOnlyError

from zeotwisted.protocol import SERVER_CALLS
from zeotwisted.storageserver.connections.calls import _FUNCTIONS, perform
from zeotwisted.storageserver.connections.connection import ServerConnection


def test_each_call_has_a_function() -> None:
    assert set(_FUNCTIONS) == set(SERVER_CALLS)


@pytest.mark.parametrize("name", sorted(SERVER_CALLS))
def test_the_function_takes_what_the_call_may_have(name: str) -> None:
    call = SERVER_CALLS[name]
    signature = inspect.signature(_FUNCTIONS[name])
    for number in (call.required, len(call.kinds)):
        signature.bind("the client", *range(number))


@pytest.mark.parametrize("name", sorted(name for name in SERVER_CALLS if SERVER_CALLS[name].writes))
def test_readers_may_not_write(name: str) -> None:
    class Peer:
        label = "a reader"

    client = ServerConnection(Peer(), {})  # type: ignore[arg-type]
    client.read_only = True
    with pytest.raises(ReadOnlyError):
        perform(client, SERVER_CALLS[name], ())
