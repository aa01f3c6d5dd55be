"""Connections that are refused: each is told the reason, and closed."""

from __future__ import annotations

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from zeotwisted.protocol import refusal
from zeotwisted.transport import bottom

from ..figures import Refusal as Reason
from ..floods import Kind
from ..limits import host_of
from .clients import Clients
from .partings import Partings

__all__ = ["Refusals"]


class Refusals:
    """Refuses connections.

    :param clients: the clients that are let in.
    """

    _log = Logger()

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        # Not those of other clients: many refusals must not keep them from being told a reason.
        self._partings = Partings(clients.clock)

    def refuse(self, address: IAddress | None, reason: str) -> Refusal | None:
        """Return a protocol that sends the reason; None to close the connection at once."""
        host = host_of(address)
        self._clients.figures.refusals[Reason.CONNECTION] += 1
        if self._clients.floods.admit(Kind.NO_ROOM, host):
            self._log.warn("({host}) connection refused: {reason}", host=host, reason=reason)
        if self._partings.is_full:
            return None
        return Refusal(self._clients, self._partings, host, reason)


class Refusal(Protocol):
    """Sends the reason in place of the greeting, then closes the connection.

    :param partings: has all refusals that are open.
    """

    def __init__(self, clients: Clients, partings: Partings, host: str, reason: str) -> None:
        self._clients = clients
        self._partings = partings
        self._reason = reason
        self.label = host
        self.number = 0

    def connectionMade(self) -> None:
        assert self.transport is not None
        self._partings.begin(self)
        self._clients.refused(self)
        self.transport.write(refusal(self._reason))
        if bottom(self.transport) is self.transport:
            self.transport.loseConnection()
        # Otherwise the reason is sent after the handshake of TLS, which closing would end. The
        # client closes the connection when it has the reason.

    def say_goodbye(self, reason: str) -> None:
        """Do nothing: the client is refused already."""

    def state(self) -> None:
        """See `clients.Connected`."""

    def report(self) -> None:
        """See `clients.Connected`."""

    def drop(self, reason: str) -> None:
        """Close the connection at once: it knows a reason."""
        self.let_go()

    def let_go(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._partings.over(self)
        self._clients.refusal_over(self)
