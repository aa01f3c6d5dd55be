"""One connection to PostgreSQL, in the reactor, on which many queries are under way."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from twisted.internet.interfaces import IDelayedCall, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from .connecting import driver

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGresult

__all__ = ["Pipeline", "Query", "Statement"]

#: How long (seconds) nothing may come when something is awaited: a server that hangs does not
#: answer, and the system does not notice it.
_LONGEST_SILENCE = 5.0

#: The name of a prepared statement, and its text.
Statement: TypeAlias = "tuple[bytes, bytes]"

#: Each statement sees what was committed before it began, whatever the database's defaults are.
#: Plans use indexes and are made once: while there are no statistics yet, the planner would take
#: other ones for small tables, and keep them.
_SETTINGS = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "on",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
_SET = ", ".join(f"set_config('{name}', '{value}', false)" for name, value in _SETTINGS.items())

# The numbers are those of libpq, which cannot change. They are compared several times faster than
# the driver's enumerations.
_BINARY = 1
_ROWS = 2
_SYNC = 10
#: A statement without rows, one with rows, and what follows an error until the next `_SYNC`.
_GOOD = (1, _ROWS, 11)
_SEVERITY = ord("V")


class Query(Protocol):
    """What is sent to PostgreSQL."""

    @property
    def statement(self) -> bytes:
        """The name of a prepared statement."""

    @property
    def parameters(self) -> Sequence[bytes]:
        """The parameters, in PostgreSQL's binary format."""

    def answered(self, result: PGresult) -> None:
        """Take the rows. They are dropped after this call."""

    def refused(self, reason: str) -> None:
        """PostgreSQL answered with an error. The connection can be used further."""


@implementer(IReadWriteDescriptor)
class Pipeline:
    """Sends queries without waiting for the answers to those before. The answers keep the order.

    Each query is a transaction of its own: an error is the business of one query only, and no
    transaction stays open.

    :param connection: is closed at the end.
    :param ready: is called when the statements are prepared, with None; or with what is wrong, and
        then the connection is closed.
    :param taken: is called after some answers have come.
    :param lost: is called once when the connection is lost, with the reason and the queries that
        are not answered. It is not called by `close`.
    """

    def __init__(
        self,
        reactor: Any,
        connection: Connection[Any],
        statements: Iterable[Statement],
        ready: Callable[[str | None], None],
        taken: Callable[[], None],
        lost: Callable[[str, Sequence[Query]], None],
    ) -> None:
        self._reactor = reactor
        self._connection = connection
        self._pgconn = connection.pgconn
        self._error: type[Exception] = driver().Error
        # libpq closes its socket as soon as it fails, when the reactor still knows it.
        self._socket = os.dup(self._pgconn.socket)
        self._ready: Callable[[str | None], None] | None = ready
        self._taken = taken
        self._lost = lost
        self._queries: deque[Query] = deque()
        # How many ends of transactions are to come.
        self._ends = 0
        self._problem: str | None = None
        self._writing = False
        self._closed = False
        self._failed_send: IDelayedCall | None = None
        self._silence: IDelayedCall = reactor.callLater(_LONGEST_SILENCE, self._look)
        self._heard = True
        self._prepare(statements)

    def __len__(self) -> int:
        """The number of queries that are not answered."""
        return len(self._queries)

    def _prepare(self, statements: Iterable[Statement]) -> None:
        pgconn = self._pgconn
        pgconn.nonblocking = 1
        self._reactor.addReader(self)
        try:
            pgconn.enter_pipeline_mode()
            pgconn.send_query_params(f"SELECT {_SET}".encode(), None)
            for name, text in statements:
                pgconn.send_prepare(name, text)
            self._flush()
        except self._error as error:
            self._fail_soon(error)

    def send(self, query: Query) -> None:
        """Send a query. Call it only after `ready`, and not after `lost` or `close`."""
        self._queries.append(query)
        try:
            self._pgconn.send_query_prepared(
                query.statement, query.parameters, (_BINARY,) * len(query.parameters), _BINARY
            )
            self._flush()
        except self._error as error:
            self._fail_soon(error)

    def _fail_soon(self, error: Exception) -> None:
        # The caller does not expect a loss within its call.
        if self._failed_send is None:
            self._failed_send = self._reactor.callLater(0, self._send_failed, str(error))

    def _send_failed(self, reason: str) -> None:
        self._failed_send = None
        self._broken(reason)

    def _flush(self) -> None:
        # It is sent as far as the socket takes it.
        self._pgconn.pipeline_sync()
        self._ends += 1
        if not self._writing and self._pgconn.flush():
            self._writing = True
            self._reactor.addWriter(self)

    def fileno(self) -> int:
        return self._socket

    def logPrefix(self) -> str:
        return "postgresql"

    def _look(self) -> None:
        if self._ends and not self._heard:
            self._broken(f"no answer within {_LONGEST_SILENCE:g} seconds")
            return
        # What is awaited now may have been asked for just now: look a second time.
        self._heard = not self._ends
        self._silence = self._reactor.callLater(_LONGEST_SILENCE, self._look)

    def doRead(self) -> None:
        self._heard = True
        try:
            self._pgconn.consume_input()
            self._take()
        except self._error as error:
            self._broken(str(error))

    def doWrite(self) -> None:
        try:
            if not self._pgconn.flush():
                self._writing = False
                self._reactor.removeWriter(self)
            # It has read what has come in the meantime.
            self._take()
        except self._error as error:
            self._broken(str(error))

    def _take(self) -> None:
        pgconn = self._pgconn
        at_end = False
        # `is_busy` also reads what PostgreSQL says without being asked.
        while not pgconn.is_busy() and self._ends:
            result = pgconn.get_result()
            if result is None:
                # This is the end of a query's results. A second one is the end of everything.
                if at_end:
                    self._broken(pgconn.get_error_message())
                at_end = True
                continue
            at_end = False
            status = result.status
            if status == _SYNC:
                self._ends -= 1
                if self._ready is not None:
                    self._prepared()
            elif status == _ROWS and self._ready is None:
                self._queries.popleft().answered(result)
            elif status not in _GOOD:
                self._refused(result)
            # A record may be large.
            result.clear()
        self._taken()

    def _refused(self, result: PGresult) -> None:
        message = " ".join(result.get_error_message().split())
        if result.error_field(_SEVERITY) != b"ERROR":
            # PostgreSQL ends the connection; or libpq does, whose own errors have no severity.
            self._broken(message)
        elif self._ready is None:
            self._queries.popleft().refused(message)
        elif self._problem is None:
            self._problem = message

    def _prepared(self) -> None:
        ready, self._ready = self._ready, None
        assert ready is not None
        if self._problem is not None:
            self.close()
        ready(self._problem)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor has found it before libpq did."""
        self._broken(reason.getErrorMessage())

    def give_up(self, reason: str) -> None:
        """Close the connection; `lost` gets what is not answered."""
        self._broken(reason)

    def _broken(self, reason: str) -> None:
        if self._closed:
            return
        reason = " ".join(reason.split())
        ready, self._ready = self._ready, None
        queries = self.close()
        if ready is not None:
            ready(reason)
        else:
            self._lost(reason, queries)

    def close(self) -> Sequence[Query]:
        """Close the connection. Return the queries that are not answered."""
        if self._closed:
            return ()
        self._closed = True
        if self._silence.active():
            self._silence.cancel()
        if self._failed_send is not None:
            self._failed_send.cancel()
            self._failed_send = None
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        queries, self._queries = self._queries, deque()
        self._ends = 0
        os.close(self._socket)
        self._connection.close()
        return queries
