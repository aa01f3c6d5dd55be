"""The functions for the calls of a client.

The function ``remote_X`` runs for the call X. Its arguments are the client's session and the
arguments of the call, which `zeotwisted.protocol.methods` has checked. It returns the result, or a
Deferred or a coroutine of the result. Only the names in the table of that module can be called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ZODB.POSException import ReadOnlyError

from zeotwisted.protocol import Call

from . import (
    ahead,
    authentication,
    blobs,
    history,
    packs,
    popular,
    records,
    registration,
    standbys,
    steering,
    transactions,
    wholestorage,
)
from .admission import refusal
from .connection import ServerConnection

__all__ = ["perform"]

_MODULES: tuple[ModuleType, ...] = (
    registration,
    authentication,
    wholestorage,
    packs,
    steering,
    standbys,
    records,
    ahead,
    popular,
    history,
    blobs,
    transactions,
)

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    name.removeprefix("remote_"): function
    for module in _MODULES
    for name, function in vars(module).items()
    if name.startswith("remote_")
}


def perform(client: ServerConnection, call: Call, args: tuple[Any, ...]) -> Any:
    """Run the function for a call; return the result, or a Deferred or a coroutine of it.

    :raises ZODB.POSException.ReadOnlyError: the call writes, and the client is read-only.
    :raises AccessDenied: the client does not have the role that the call needs.
    """
    if call.role not in client.roles:
        raise refusal(client, call)
    if client.read_only and call.writes:
        raise ReadOnlyError()
    return _FUNCTIONS[call.name](client, *args)
