"""What threads of a client do with a socket themselves: they send, and read answers.

`install` gives the client these in the place of `zeotwisted.transport.DirectSender` and
`zeotwisted.clientstorage.calls.reading.Reading`, which need a file descriptor. They have the same
methods, and the same promises.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from zeotwisted.clientstorage.calls import protocol

from .network import Transport

__all__ = ["install"]

#: How often threads of a client use the socket themselves. Otherwise the reactor does it for them.
_DIRECT = 0.7

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


def _reading(transport: Any, reactor: Any) -> Reading | None:
    return Reading(transport) if transport.is_direct else None


def _direct_sender(transport: Any) -> Sender | None:
    # Asked first for each connection.
    transport.is_direct = transport.scheduler.random.random() < _DIRECT
    return Sender(transport) if transport.is_direct else None


def install() -> None:
    """Let the client's threads use simulated sockets."""
    module: Any = protocol
    module.reading = _reading
    module.direct_sender = _direct_sender
