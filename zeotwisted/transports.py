"""Sending without a detour."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IWriteDescriptor

__all__ = ["DirectSender", "direct_sender", "sender"]


def sender(transport: Any) -> Callable[[], None]:
    """Return a function that sends at once what was written to `transport`.

    Twisted's transports wait for the reactor's next turn, to find out whether the socket takes
    anything. It usually does, and somebody waits for a message at the other end. What it does not
    take, and any error, is left to the reactor; transports that are no sockets send as they like.

    The function is to be called in the reactor's thread.
    """
    if not IWriteDescriptor.providedBy(transport):
        return _nothing
    descriptor: Any = transport

    def send() -> None:
        # Once it is closing, only the reactor may find that everything has been sent.
        if not descriptor.disconnecting:
            descriptor.doWrite()

    return send


def _nothing() -> None:
    """The transport sends on its own."""


class DirectSender:
    """Sends past a transport, in any thread. The caller has to see to the order.

    It has a file descriptor of its own: the transport may close its own at any moment, and the
    number may be another file's when the operating system gets it.
    """

    def __init__(self, handle: socket.socket) -> None:
        self._socket = handle.dup()
        # What is true of the transport's socket is true of its copy.
        self._socket.setblocking(False)

    def send(self, data: bytes) -> int:
        """Return how many bytes of `data` were sent; none if there is any trouble."""
        try:
            return self._socket.send(data)
        except OSError:
            # It is full, or broken, and the reactor will find out.
            return 0

    def close(self) -> None:
        """Close the descriptor; must not be called while another thread sends."""
        self._socket.close()


def direct_sender(transport: Any) -> DirectSender | None:
    """Return a way past `transport`, if it is a plain socket."""
    if not IWriteDescriptor.providedBy(transport):
        return None
    handle = getattr(transport, "getHandle", lambda: None)()
    return DirectSender(handle) if isinstance(handle, socket.socket) else None
