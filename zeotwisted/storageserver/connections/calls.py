"""What a client may call, and the functions that do it.

A call of the name X is done by the function ``remote_X``. It is given the client's session and the
call's arguments, which `zeotwisted.protocol.methods` has checked; it returns the result, or a
Deferred or a coroutine of it. A name that is not in the table there cannot be called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ZODB.POSException import ReadOnlyError

from zeotwisted.protocol import Call

from . import blobs, history, records, registration, transactions, wholestorage
from .connection import ServerConnection

__all__ = ["perform"]

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    name.removeprefix("remote_"): function
    for module in (registration, wholestorage, records, history, blobs, transactions)
    for name, function in vars(module).items()
    if name.startswith("remote_")
}


def perform(client: ServerConnection, call: Call, args: tuple[Any, ...]) -> Any:
    """Do what a client asks for: return the result, or a coroutine that will.

    :raises ZODB.POSException.ReadOnlyError: it writes, and the client registered as a reader.
    """
    if client.read_only and call.writes:
        raise ReadOnlyError()
    return _FUNCTIONS[call.name](client, *args)
