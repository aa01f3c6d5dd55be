"""What both ends do with a socket themselves: send, and read answers in a thread.

`install` gives the client these in the place of `zeotwisted.transport.DirectSender` and
`zeotwisted.clientstorage.calls.reading.Reading`, which need a file descriptor. They have the same
methods, and the same promises. The daemon's `DirectWriter` gets a simulated socket.

Some clients use version 5 of the protocol with any daemon.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from zeotwisted.clientstorage.calls import protocol
from zeotwisted.protocol import EXTENDED, ClientHandshake
from zeotwisted.protocol.session import STOCK, Input
from zeotwisted.transport import sockets as transport_sockets

from . import threads
from .network import Transport

__all__ = ["install"]

#: How long (seconds) a thread waits before it tries again to send.
_AGAIN = 0.001


class Reading:
    """The reading end of a connection. One thread, or the reactor, reads at a time."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._baton = threading.Lock()
        self._closed = False
        transport.reading = self

    # A thread that leads.

    def begin(self) -> bool:
        return self._baton.acquire(blocking=False)

    def wait(self) -> bool:
        transport = self._transport
        scheduler = transport.scheduler
        while not (transport.inbox or transport.has_ended or self._closed):
            transport.reader = scheduler.current
            scheduler.block()
        transport.reader = None
        return not (transport.has_ended or self._closed)

    def receive(self) -> bytes:
        return self._transport.receive()

    def end(self) -> None:
        self._baton.release()
        self._transport.readable()

    # The reactor.

    def end_quietly(self) -> None:
        """End the reactor's turn to read."""
        self._baton.release()
        if self._transport.inbox:
            self._transport.readable()

    def close(self) -> None:
        self._closed = True
        self._transport.wake_reader()

    def abandon(self) -> None:
        raise NotImplementedError("no simulated process forks")


class Sender:
    """Sends in the thread that calls it.

    :ivar sent: how many bytes `send_waiting` has sent.
    """

    def __init__(self, transport: Transport) -> None:
        self.sent = 0
        self._transport = transport
        self._shut_down = False

    def send(self, data: bytes) -> int:
        return self._transport.take(data)

    def send_waiting(self, pieces: Sequence[bytes]) -> bytes:
        rest = b"".join(pieces)
        while rest and self._transport.open and not self._shut_down:
            size = self.send(rest)
            self.sent += size
            rest = rest[size:]
            if rest:
                self._transport.scheduler.sleep(_AGAIN)
        return rest

    def shut_down(self) -> None:
        self._shut_down = True

    def close(self) -> None:
        pass


class _Socket:
    """What a daemon sends to itself, in the reactor's thread."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(self, data: bytes) -> int:
        sent = self._transport.take(data)
        if not sent:
            raise BlockingIOError
        return sent


def _plain_socket(transport: Any) -> _Socket | None:
    return _Socket(transport) if transport.is_bare else None


def _reading(transport: Any, reactor: Any) -> Reading | None:
    return Reading(transport) if transport.is_bare else None


def _direct_sender(transport: Any) -> Sender | None:
    return Sender(transport) if transport.is_bare else None


class _OldHandshake(ClientHandshake):
    """Uses version 5 with any server, as ZEO's clients do."""

    def received(self, frame: bytes) -> tuple[Input, bytes, bytes]:
        return super().received(frame[:1] + STOCK if frame[1:] == EXTENDED else frame)


def _handshake() -> ClientHandshake:
    process: Any = threads.current_process()
    return _OldHandshake() if process.is_old else ClientHandshake()


def install() -> None:
    """Let both ends use simulated sockets."""
    module: Any = protocol
    module.reading = _reading
    module.direct_sender = _direct_sender
    module.ClientHandshake = _handshake
    module = transport_sockets
    module._plain_socket = _plain_socket
