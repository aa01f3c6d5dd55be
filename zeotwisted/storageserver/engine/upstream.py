"""Serves a storage that is a client of another server: a cache for all processes of a host.

The other server has the last word. While it cannot be reached, clients are not served: they would
wait for each other, and would not hear of changes. They are disconnected, as they are if they use
the other server itself, and verify their caches when they come back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from ZODB.Connection import TransactionMetaData

from .engine import News, OwnCommit, Remote
from .single import OneStorage

__all__ = ["Upstream"]


class Upstream:
    """See `engine.Engine`. One transaction at a time is between its vote and its end.

    :param storage_id: its name for messages.
    :param storage: a `ClientStorage`.
    """

    _log = Logger()
    is_shared = False
    votes = 1
    is_replica = False
    marks = False
    unpickles = True
    database = ""

    def __init__(self, storage_id: str, storage: Any, reactor: Any) -> None:
        self._name = storage_id
        self._reactor = reactor
        self.storage = storage
        self.lending = OneStorage(storage)
        self._remote: Remote = storage.upstream
        self.remote: Remote | None = self._remote
        self.records = _Records(self._remote, reactor)
        self._is_cut_off = False

    def voted(self, storage: Any) -> bytes | None:
        return None

    def knows(self, tid: bytes) -> bool:
        return True

    def outcome(self, mark: bytes) -> bytes | None:
        raise NotImplementedError("there are no marks")

    def finish(self, storage: Any, transaction: TransactionMetaData, own: OwnCommit) -> None:
        raise NotImplementedError("the storage tells its database of its transactions")

    def start(self, news: News) -> None:
        def lost() -> None:
            self._is_cut_off = True
            news.cut_off(f"{self.storage.getName()}: the server that it comes from is not there")

        def found() -> None:
            if self._is_cut_off:
                self._is_cut_off = False
                news.restored()
            else:
                # It has changed from one server to another. What it was told then are the changes
                # of several transactions, as if they were one.
                news.lost_track()

        self._remote.watch(lost, found)

    def refresh(self, done: Callable[[], object]) -> None:
        self._remote.ping(_Done(done))

    def stop(self) -> None:
        self._remote.watch(_nothing, _nothing)


def _nothing() -> None:
    """The server stops."""


class _Records:
    """See `engine.Records`."""

    def __init__(self, remote: Remote, reactor: Any) -> None:
        self._remote = remote
        self._reactor = reactor

    def load_before(self, oid: bytes, tid: bytes) -> Deferred[Any]:
        answer = _Answer(self._reactor)
        self._remote.load_before(answer, oid, tid)
        return answer.deferred

    def load_many_before(self, oids: Sequence[bytes], tid: bytes) -> Deferred[list[Any]]:
        answer = _Answer(self._reactor)
        self._remote.load_many_before(answer, oids, tid)
        return answer.deferred

    def close(self) -> None:
        """The storage closes its connection."""


class _Answer:
    """See `engine.Answer`.

    :ivar deferred: fires in the reactor's thread, in one order with the news of the storage.
    """

    def __init__(self, reactor: Any) -> None:
        self.deferred: Deferred[Any] = Deferred()
        self._reactor = reactor

    def callback(self, value: Any) -> None:
        self._reactor.callFromThread(self.deferred.callback, value)

    def errback(self, error: BaseException) -> None:
        self._reactor.callFromThread(self.deferred.errback, error)


class _Done:
    """See `engine.Answer`. If there is none, the clients are disconnected."""

    def __init__(self, done: Callable[[], object]) -> None:
        self._done = done

    def callback(self, value: Any) -> None:
        self._done()

    def errback(self, error: BaseException) -> None:
        pass
