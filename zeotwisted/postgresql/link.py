"""A connection to PostgreSQL that is made again when it is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Thread
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from .connecting import connect
from .pipeline import Pipeline, Query, Statement

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["Link"]

#: How long (seconds) to wait before the next attempt. The first one is made at once.
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 1.0

#: How long (seconds) a statement of the attempt may take.
_LONGEST_ATTEMPT = 10.0


def _connect_in_thread(
    reactor: Any, dsn: str, is_wanted: Callable[[], bool]
) -> Deferred[Connection[Any]]:
    """Connect in a thread: the names of hosts have to be looked up.

    The thread is not one of a pool's. The pool's threads may all wait for the database.

    :param is_wanted: is called in the thread; if it returns False, nothing more happens. The
        reactor may have stopped then, and would leave the connection open.
    """
    connected: Deferred[Connection[Any]] = Deferred()

    def run() -> None:
        result: Any
        try:
            result = connect(dsn, _LONGEST_ATTEMPT)
        except Exception:
            result = Failure()
        else:
            if not is_wanted():
                result.close()
                return
        reactor.callFromThread(connected.callback, result)

    Thread(target=run, name="zeotwisted connects to PostgreSQL", daemon=True).start()
    return connected


class Link:
    """Keeps one connection open. Call its methods in the reactor's thread.

    :param sendable: is called when there is a connection, and after answers have come.
    :param lost: is called with the queries that are not answered.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        dsn: str,
        statements: Sequence[Statement],
        sendable: Callable[[], None],
        lost: Callable[[Sequence[Query]], None],
    ) -> None:
        self._reactor = reactor
        self._dsn = dsn
        self._statements = statements
        self._sendable = sendable
        self._lost = lost
        #: The connection, if queries can be sent.
        self.pipeline: Pipeline | None = None
        #: Why there is no connection.
        self.problem = "not connected yet"
        self._preparing: Pipeline | None = None
        self._first: Deferred[None] | None = None
        self._delay = 0.0
        self._again: IDelayedCall | None = None
        self._closed = False

    def open(self) -> Deferred[None]:
        """Begin to connect. The result fires after the first attempt, whatever came of it."""
        self._first = Deferred()
        first = self._first
        self._connect()
        return first

    def _connect(self) -> None:
        self._again = None
        connecting = _connect_in_thread(self._reactor, self._dsn, lambda: not self._closed)
        connecting.addCallbacks(self._connected, self._not_connected)

    def _connected(self, connection: Connection[Any]) -> None:
        if self._closed:
            connection.close()
            return
        self._preparing = Pipeline(
            self._reactor, connection, self._statements, self._ready, self._sendable, self._broken
        )

    def _not_connected(self, failure: Failure) -> None:
        self._ready(" ".join(failure.getErrorMessage().split()))

    def _ready(self, problem: str | None) -> None:
        pipeline, self._preparing = self._preparing, None
        if self._closed:
            return
        if problem is None:
            self.pipeline = pipeline
            if self._delay:
                self._log.info("There is a connection to PostgreSQL again")
            self.problem = ""
            self._delay = 0.0
            self._sendable()
        else:
            self._later(problem)
        first, self._first = self._first, None
        if first is not None:
            first.callback(None)

    def _broken(self, reason: str, queries: Sequence[Query]) -> None:
        self.pipeline = None
        self._later(reason)
        self._lost(queries)

    def _later(self, problem: str) -> None:
        if problem != self.problem:
            self._log.warn("No connection to PostgreSQL: {problem}", problem=problem)
        self.problem = problem
        self._again = self._reactor.callLater(self._delay, self._connect)
        self._delay = min(max(_FIRST_DELAY, 2 * self._delay), _LONGEST_DELAY)

    def renew(self) -> None:
        """Use another connection from now on."""
        if self.pipeline is not None:
            self.pipeline.give_up("it does not answer")

    def close(self) -> Sequence[Query]:
        """Close the connection. Return the queries that are not answered."""
        self._closed = True
        self.problem = "closed"
        again, self._again = self._again, None
        if again is not None:
            again.cancel()
        preparing, self._preparing = self._preparing, None
        if preparing is not None:
            preparing.close()
        pipeline, self.pipeline = self.pipeline, None
        first, self._first = self._first, None
        if first is not None:
            first.callback(None)
        return () if pipeline is None else pipeline.close()
