"""Connections that are refused: each is told the reason, and closed."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from zeotwisted.protocol import refusal
from zeotwisted.transport import bottom

from ..floods import Kind
from ..limits import host_of
from .clients import Clients

__all__ = ["Refusals"]

#: How many refused connections may be open, because they wait for the end of a TLS handshake, and
#: for how long (seconds). Further ones are closed without a reason.
_MOST = 32
_PATIENCE = 2.0


class Refusals:
    """Refuses connections.

    :param clients: the clients that are let in.
    """

    _log = Logger()

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._open: set[Refusal] = set()

    def refuse(self, address: IAddress | None, reason: str) -> Refusal | None:
        """Return a protocol that sends the reason; None to close the connection at once."""
        host = host_of(address)
        if self._clients.floods.admit(Kind.NO_ROOM, host):
            self._log.warn("({host}) connection refused: {reason}", host=host, reason=reason)
        if len(self._open) >= _MOST:
            return None
        return Refusal(self._clients, self._open, host, reason)


class Refusal(Protocol):
    """Sends the reason in place of the greeting, then closes the connection.

    :param opened: has all refusals that are open.
    """

    def __init__(self, clients: Clients, opened: set[Refusal], host: str, reason: str) -> None:
        self._clients = clients
        self._opened = opened
        self._reason = reason
        self._deadline: IDelayedCall | None = None
        self.label = host

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._opened.add(self)
        self._clients.refused(self)
        self._deadline = self._clients.clock.callLater(_PATIENCE, self.let_go)
        self.transport.write(refusal(self._reason))
        if bottom(self.transport) is self.transport:
            self.transport.loseConnection()
        # Otherwise the reason is sent after the handshake of TLS, which closing would end. The
        # client closes the connection when it has the reason.

    def say_goodbye(self, reason: str) -> None:
        """Do nothing: the client is refused already."""

    def let_go(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._opened.discard(self)
        self._clients.refusal_over(self)
