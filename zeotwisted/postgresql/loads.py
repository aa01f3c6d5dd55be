"""Loads of records from RelStorage's tables in PostgreSQL, in the reactor's thread.

Each load is one statement, which begins after the load was asked for. So it sees every transaction
that was committed before. No snapshot is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall
from ZODB.POSException import ReadConflictError, StorageError
from ZODB.utils import maxtid

from .errors import Unreachable
from .link import Link
from .pipeline import Pipeline
from .queries import Load, LoadMany, LoadOne, Revision, statements

__all__ = ["DatabaseUnreachable", "RecordLoads"]

#: How many loads are under way at the same time.
_MOST = 64

#: How many records one answer has at most: other loads wait behind it.
_MOST_RECORDS = 256

#: How long (seconds) a load waits for a connection.
_PATIENCE = 3.0


class DatabaseUnreachable(Unreachable, ReadConflictError):
    """There was no connection to the database for some time.

    All clients, also those of ZEO, try a transaction again that fails with a conflict.
    """


class RecordLoads:
    """Loads records. Call all methods in the reactor's thread.

    A load whose connection is lost is tried again on another one.

    :param dsn: the data source, as libpq reads it.
    :param keep_history: as RelStorage's option; it decides which tables there are.
    :param connections: how many connections to make.
    :param most: how many loads are under way at the same time. The others wait; the order is kept.
    :param patience: for how long (seconds) a load is tried again before it fails.
    """

    def __init__(
        self,
        dsn: str,
        keep_history: bool,
        reactor: Any,
        connections: int = 2,
        most: int = _MOST,
        patience: float = _PATIENCE,
    ) -> None:
        self._reactor = reactor
        self._most_each = max(1, most // connections)
        self._patience = patience
        prepared = statements(keep_history)
        self._links = [
            Link(reactor, dsn, prepared, self._send_waiting, self._lost) for _ in range(connections)
        ]
        self._waiting: deque[Load] = deque()
        self._timer: IDelayedCall | None = None
        self._closed = False

    def open(self) -> Deferred[None]:
        """Connect. The result fires when loads can begin.

        :raises DatabaseUnreachable: no connection could be made, or the tables are not there.
        """
        return gatherResults([link.open() for link in self._links]).addCallback(self._opened)

    def _opened(self, _: object) -> None:
        if not self._closed and not self._reachable():
            error = self._unreachable()
            self.close()
            raise error

    def renew(self) -> None:
        """Make new connections, as those that there are may not answer any more."""
        for link in self._links:
            link.renew()

    def close(self) -> None:
        """Close the connections. What is waiting or under way fails."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loads: list[Any] = [load for link in self._links for load in link.close()]
        loads.extend(self._waiting)
        self._waiting.clear()
        for load in loads:
            load.fail(_closed())

    def load_before(self, oid: bytes, tid: bytes) -> Deferred[Revision]:
        """Return the last revision before `tid`: its data, its serial, and the next one's serial.

        The result is None if the object exists, but has no such revision: it was created later, or
        the revision was packed. Without history, it is None if the object was changed later.

        :raises POSKeyError: there is no such object; or it has no data in this revision, because
            its creation was undone or it was deleted.
        :raises DatabaseUnreachable: there was no connection for some time.
        :raises StorageError: PostgreSQL refused the statement.
        """
        return self._start(LoadOne(oid, tid if tid < maxtid else maxtid))

    def load_many_before(
        self, oids: Sequence[bytes], tid: bytes
    ) -> Deferred[list[Revision | bool]]:
        """Return the results of `load_before` for the first few `oids`, at least for the first.

        False means that `load_before` would raise `POSKeyError`. The answer ends before the data
        are much longer than 256 KiB. A record that is longer is only returned alone.

        :raises DatabaseUnreachable: there was no connection for some time.
        :raises StorageError: PostgreSQL refused the statement.
        """
        if not oids:
            return succeed([])
        return self._start(LoadMany(oids[:_MOST_RECORDS], tid if tid < maxtid else maxtid))

    def _start(self, load: Load) -> Deferred[Any]:
        if self._closed:
            return fail(_closed())
        pipeline = None if self._waiting else self._free()
        if pipeline is None:
            self._waiting.append(load)
            self._limit_waiting()
        else:
            pipeline.send(load)
        return load.done

    def _free(self) -> Pipeline | None:
        """Return the connection with the fewest loads, if it can have one more."""
        best, fewest = None, self._most_each
        for link in self._links:
            pipeline = link.pipeline
            if pipeline is not None and len(pipeline) < fewest:
                best, fewest = pipeline, len(pipeline)
        return best

    def _send_waiting(self) -> None:
        while self._waiting:
            pipeline = self._free()
            if pipeline is None:
                break
            pipeline.send(self._waiting.popleft())

    def _lost(self, loads: Sequence[Any]) -> None:
        now = self._reactor.seconds()
        late = []
        for load in reversed(loads):
            if load.until is None:
                load.until = now + self._patience
            if load.until > now:
                self._waiting.appendleft(load)
            else:
                late.append(load)
        self._send_waiting()
        self._limit_waiting()
        for load in late:
            load.fail(self._unreachable())

    def _reachable(self) -> bool:
        return any(link.pipeline is not None for link in self._links)

    def _unreachable(self) -> DatabaseUnreachable:
        problem = next((link.problem for link in self._links if link.problem), "")
        return DatabaseUnreachable(f"the database cannot be reached: {problem}")

    def _limit_waiting(self) -> None:
        """Limit the time for which loads wait for a connection, if there is none."""
        if not self._waiting or self._reachable():
            return
        now = self._reactor.seconds()
        first = now + self._patience
        for load in self._waiting:
            if load.until is None:
                load.until = now + self._patience
            first = min(first, load.until)
        if self._timer is None:
            self._timer = self._reactor.callLater(max(0, first - now), self._give_up)

    def _give_up(self) -> None:
        self._timer = None
        if self._reachable():
            return
        now = self._reactor.seconds()
        late = [load for load in self._waiting if load.until is not None and load.until <= now]
        self._waiting = deque(load for load in self._waiting if load not in late)
        self._limit_waiting()
        for load in late:
            load.fail(self._unreachable())


def _closed() -> StorageError:
    return StorageError("the storage is closed")
