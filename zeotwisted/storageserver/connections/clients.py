"""All clients of a server: the connected ones, and those whose resources are being released."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from ..figures import ConnectionReport, ConnectionState, ServerFigures
from ..floods import Floods
from ..limits import Limits
from ..options import ServerOptions
from ..storage import ServedStorage
from .logins import Logins
from .partings import Partings
from .rounds import Rounds

__all__ = ["Clients", "Connected"]


class Connected(Protocol):
    """One connection."""

    #: The name of the client in log lines.
    label: str
    #: What `Clients.connected` has returned; 0 if the connection is refused.
    number: int

    def say_goodbye(self, reason: str) -> None:
        """Tell the client that the server is about to stop."""

    def let_go(self) -> None:
        """End the connection, without a line in the log."""

    def drop(self, reason: str) -> None:
        """Log the reason and end the connection."""

    def state(self) -> ConnectionState | None:
        """Return the state of the connection; None if it is refused, or ends."""

    def report(self) -> ConnectionReport | None:
        """Return more of its state."""


class Clients:
    """The clients of a server.

    :param storages: the served storages by name.
    :param clock: the reactor.
    :param limits: what clients may have.
    :ivar figures: what is counted.
    :ivar rounds: the connections that have messages left for their next turn.
    :ivar floods: decides which log lines that clients cause are written.
    :ivar logins: slows down hosts that guess passwords.
    :ivar partings: the connections that the server ends, until their clients know why.
    """

    _log = Logger()

    def __init__(
        self,
        storages: Mapping[str, ServedStorage],
        options: ServerOptions,
        clock: IReactorTime,
        limits: Limits,
    ) -> None:
        self.limits = limits
        self.figures = ServerFigures()
        self.storages = storages
        self.options = options
        self.clock = clock
        self.rounds = Rounds(clock)
        self.floods = Floods(clock)
        self.logins = Logins(clock)
        self.partings = Partings(clock)
        # Dicts, so that all that is done for all of them is done in the order in which they came.
        self._connections: dict[Connected, None] = {}
        self._leaving: dict[Deferred[None], None] = {}
        self._released: Deferred[None] | None = None

    def connected(self, connection: Connected) -> int:
        """Add a connection; return its number, which no other one has had."""
        self._connections[connection] = None
        self.figures.accepted += 1
        return self.figures.accepted

    def states(self) -> list[ConnectionState]:
        """Return the state of each connection, the oldest first."""
        return [state for _, state in self._with_states()]

    def _with_states(self) -> list[tuple[Connected, ConnectionState]]:
        states = ((each, each.state()) for each in self._connections)
        return [(each, state) for each, state in states if state is not None]

    def reports(self, most: int, storage_id: str | None = None) -> list[ConnectionReport]:
        """Return more of the state of at most so many connections.

        Those for which the most bytes wait are first, then those that do not answer, and those in a
        transaction.

        :param storage_id: only those that have registered for this storage; None: all.
        """
        pairs = self._with_states()
        pairs.sort(key=lambda pair: (-pair[1].queued, -pair[1].silent, not pair[1].in_transaction))
        reports = (each.report() for each, _ in pairs)
        chosen = (
            report
            for report in reports
            if report is not None and storage_id in (None, report.storage_id)
        )
        return list(islice(chosen, most))

    def disconnect(self, number: int, reason: str) -> ConnectionReport | None:
        """Drop the connection with a number; return what it was, or None if it is gone."""
        found = self.find(number)
        if found is None:
            return None
        connection, report = found
        connection.drop(reason)
        return report

    def report_of(self, number: int) -> ConnectionReport | None:
        """Return the state of the connection with a number; None if it is gone."""
        found = self.find(number)
        return None if found is None else found[1]

    def find(self, number: int) -> tuple[Connected, ConnectionReport] | None:
        """Return the connection with a number, and its report; None if it is gone."""
        for connection in self._connections:
            if connection.number == number:
                report = connection.report()
                return None if report is None else (connection, report)
        return None

    def refused(self, connection: Connected) -> None:
        """Add a connection that is refused, and is open until its client knows the reason."""
        self._connections[connection] = None

    def refusal_over(self, connection: Connected) -> None:
        """Remove a connection that was refused."""
        self._connections.pop(connection, None)
        self._check_released()

    def disconnected(self, connection: Connected, released: Deferred[None]) -> None:
        """Remove a connection that is lost.

        :param released: fires when all that the client held is released.
        """
        self._connections.pop(connection, None)
        self._leaving[released] = None
        released.addErrback(
            lambda failure: self._log.failure(
                "({label}) cannot be released", failure, label=connection.label
            )
        )
        released.addBoth(self._left, released)

    def _left(self, _: object, released: Deferred[None]) -> None:
        self._leaving.pop(released, None)
        self.limits.trimmer.client_left()
        self._check_released()

    def say_goodbye(self, reason: str) -> None:
        """Tell all clients that the server is about to stop."""
        for connection in list(self._connections):
            connection.say_goodbye(reason)

    def drop_all(self, reason: str) -> None:
        """Close all connections, with one line in the log for all of them."""
        connections = list(self._connections)
        if connections:
            self._log.info(
                "{reason}: {number} clients are let go", reason=reason, number=len(connections)
            )
        for connection in connections:
            connection.let_go()

    def all_released(self) -> Deferred[None]:
        """Return a Deferred that fires when all connections are lost, and hold nothing any more."""
        released = self._released = Deferred()
        self._check_released()
        return released

    def _check_released(self) -> None:
        if self._released is not None and not self._connections and not self._leaving:
            released, self._released = self._released, None
            released.callback(None)
