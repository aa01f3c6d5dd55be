"""Sending without a detour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IWriteDescriptor

__all__ = ["sender"]


def sender(transport: Any) -> Callable[[], None]:
    """Return a function that sends at once what was written to `transport`.

    Twisted's transports wait for the reactor's next turn, to find out whether the socket takes
    anything. It usually does, and somebody waits for a message at the other end. What it does not
    take, and any error, is left to the reactor; transports that are no sockets send as they like.

    The function is to be called in the reactor's thread.
    """
    if not IWriteDescriptor.providedBy(transport):
        return _nothing
    socket: Any = transport

    def send() -> None:
        # Once it is closing, only the reactor may find that everything has been sent.
        if not socket.disconnecting:
            socket.doWrite()

    return send


def _nothing() -> None:
    """The transport sends on its own."""
