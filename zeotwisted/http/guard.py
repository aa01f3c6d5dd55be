"""Bounds what visitors take of the daemon: how many they are, what they send, how long they stay.

A connection is for one request, so that bytes and time of a connection are those of a request.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure

from zeotwisted.storageserver import neighbourhood
from zeotwisted.transport import bottom

__all__ = ["Guard", "Guarded"]

#: How many connections there may be, and how many of them from one host.
_MOST = 60
_MOST_OF_HOST = 40

#: How many bytes a request may have, with its headers.
LONGEST_REQUEST = 2**14

#: How long (seconds) a request may take to arrive, and its answer to be taken.
_ARRIVAL = 10.0
_DELIVERY = 30.0

#: If there is no room, a connection without a complete request gives way after this time (seconds).
_PROMPT = 1.0

#: How many connections are accepted in each tick (seconds). The system lets others wait.
_TICK = 0.1
_PER_TICK = 10

_ANSWER = (
    b"HTTP/1.1 %s\r\nContent-Length: %d\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n%s"
)


def _answer(status: bytes, text: bytes) -> bytes:
    return _ANSWER % (status, len(text), text)


_TOO_LONG = _answer(b"413 Content Too Large", b"the request is too long\n")
_NO_ROOM = _answer(b"503 Service Unavailable", b"too many visitors; come back later\n")


class Guarded(ProtocolWrapper):
    """One connection.

    :ivar host: the host of the visitor, or the network of its IPv6 address; empty at a Unix socket.
    """

    host: str = ""

    def __init__(self, guard: Guard, wrapped: Any, host: str) -> None:
        super().__init__(guard, wrapped)  # type: ignore[arg-type]
        self.guard = guard
        self.host = host
        self.since = guard.clock.seconds()
        self.has_request = False
        self._received = 0
        self._over = False
        self._deadline: IDelayedCall | None = None

    def makeConnection(self, transport: Any) -> None:
        self.guard.entered(self)
        self._wait(_ARRIVAL)
        super().makeConnection(transport)

    def _wait(self, seconds: float) -> None:
        self.stay()
        self._deadline = self.guard.clock.callLater(seconds, self.end)

    def stay(self) -> None:
        """Have no deadline any more: the answer has no end."""
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def end(self) -> None:
        """Close the connection at once, whatever is under way."""
        self._over = True
        self.stay()
        transport: Any = self.transport
        transport.abortConnection()

    def answering(self) -> None:
        """The request is complete: from now on, the answer has to be taken in time."""
        self.has_request = True
        self._wait(_DELIVERY)

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        self._received += len(data)
        if self._received > LONGEST_REQUEST:
            self._over = True
            transport: Any = self.transport
            transport.write(_TOO_LONG)
            transport.loseConnection()
            return
        super().dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        self.stay()
        self.guard.left(self)
        super().connectionLost(reason)


class _Refused(Protocol):
    """A connection for which there is no room."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        if bottom(transport) is not transport:
            # The answer would wait for the handshake, which may never come.
            transport.abortConnection()
            return
        transport.write(_NO_ROOM)
        transport.loseConnection()


class Guard(Factory):
    """Makes the protocols of connections, as many as there may be.

    :param site: makes the protocols of HTTP.
    :param clock: the reactor.
    """

    noisy = False

    def __init__(self, site: Any, clock: Any) -> None:
        self.clock = clock
        #: Where it listens, to let new connections wait.
        self.port: IListeningPort | None = None
        self._site = site
        self._connections: dict[Guarded, None] = {}
        self._accepted = 0
        self._tick: IDelayedCall | None = None

    # What `ProtocolWrapper` calls.

    def registerProtocol(self, protocol: Any) -> None:
        """Do nothing: `entered` counts it."""

    def unregisterProtocol(self, protocol: Any) -> None:
        """Do nothing: `left` counts it."""

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        self._slow_down()
        host = neighbourhood(getattr(addr, "host", None) or "")
        if not self._has_room(host):
            return _Refused()
        wrapped = self._site.buildProtocol(addr)
        return Guarded(self, wrapped, host)

    def _slow_down(self) -> None:
        self._accepted += 1
        if self._tick is None:
            self._tick = self.clock.callLater(_TICK, self._next_tick)
        if self._accepted == _PER_TICK:
            port: Any = self.port
            if port is not None:
                port.stopReading()

    def _next_tick(self) -> None:
        self._tick = None
        port: Any = self.port
        if self._accepted >= _PER_TICK and port is not None:
            port.startReading()
        self._accepted = 0

    def _has_room(self, host: str) -> bool:
        of_host = sum(each.host == host for each in self._connections)
        if of_host < _MOST_OF_HOST and len(self._connections) < _MOST:
            return True
        before = self.clock.seconds() - _PROMPT
        for each in self._connections:
            if not each.has_request and each.since <= before:
                each.end()
                # A connection may end later than it is told to.
                self._connections.pop(each, None)
                return True
        return False

    def entered(self, connection: Guarded) -> None:
        """Count a connection."""
        self._connections[connection] = None

    def left(self, connection: Guarded) -> None:
        """Count a connection no more."""
        self._connections.pop(connection, None)

    def close(self) -> None:
        """End all connections."""
        self.port = None
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        for each in list(self._connections):
            each.end()
