"""Runs the calls of one client, and writes their answers in the turn in which they are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from types import CoroutineType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError, StorageError, UndoError

from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.protocol import (
    SERVER_CALLS,
    Called,
    EncodeError,
    FrameTooLarge,
    MessageId,
    Session,
)

from ..figures import TIMED, CallFigures, Histogram
from ..floods import Kind, brief
from ..limits import Budget
from .backlog import Backlog
from .calls import perform
from .connection import ServerConnection
from .fulldisk import told
from .peer import Answer, Gone, Peer

__all__ = ["Answering"]

# Errors that occur in normal operation. They are not logged.
_USUAL = (ConflictError, POSKeyError, ReadOnlyError, UndoError)

#: If all clients together have too many calls under way, a client may still have this number.
_FEW_UNDER_WAY = 10

#: The most frequent call.
_LOAD = SERVER_CALLS["loadBefore"]


class Answering:
    """Runs the calls of a client.

    If there are too many under way, it has no more read until a half of them is left. That is no
    error: the client is only slowed down.

    :param peer: the client's connection.
    :param session: encodes the answers.
    :param backlog: writes them.
    :param figures: of each call, by its name.
    :param most: how many calls of the client may be under way.
    :param together: counts those of all clients.
    :param hold, let_go: called when no more calls are to be handled, and when they are again.
    :ivar under_way: how many calls have returned a Deferred or a coroutine that has not finished.
    :ivar last_call: when the last one began, by `perf_counter`.
    """

    _log = Logger()

    def __init__(
        self,
        peer: Peer,
        connection: ServerConnection,
        session: Session,
        backlog: Backlog,
        figures: Mapping[str, CallFigures],
        most: int,
        together: Budget,
        hold: Callable[[], object],
        let_go: Callable[[], object],
    ) -> None:
        self.under_way = 0
        self.last_call = perf_counter()
        self._peer = peer
        self._connection = connection
        self._session = session
        self._backlog = backlog
        self._figures = figures
        self._most = most
        self._together = together
        self._hold = hold
        self._let_go = let_go
        # With how many calls under way the client may go on; None if it is not slowed down.
        self._enough: int | None = None
        # How many loads are answered until the next one is measured.
        self._untimed = 0
        self._is_stopped = False

    def stop(self) -> None:
        """Write no more answers. The calls under way go on."""
        self._is_stopped = True
        # They would keep the connection in memory, in a reference cycle.
        self._peer = Gone(self._peer)
        self._hold = self._let_go = _nothing

    def called(self, event: Called) -> None:
        """Run a call."""
        id, call, args, error = event
        begin = self.last_call = perf_counter()
        try:
            if error is not None:
                raise TypeError(str(error))
            result = perform(self._connection, call, args)
        except Exception as error:
            self._failed(id, call.name, error)
            self._figures[call.name].seconds.add(perf_counter() - begin)
            return
        kind = type(result)
        if kind is CoroutineType:
            result = Deferred.fromCoroutine(result)
        elif not isinstance(result, Deferred):
            if id is not None:
                self._answer(id, call.name, result)
            if call is not _LOAD:
                self._figures[call.name].seconds.add(perf_counter() - begin)
            elif self._untimed:
                self._untimed -= 1
            else:
                self._untimed = TIMED - 1
                self._figures[call.name].seconds.add_for(TIMED, perf_counter() - begin)
            return
        self._begin_call()
        result.addBoth(self._no_longer_under_way)
        result.addCallback(self._answered_later, id, call.name)
        result.addErrback(self._failed_later, id, call.name)
        result.addBoth(_timed, self._figures[call.name].seconds, begin)

    def _begin_call(self) -> None:
        self.under_way += 1
        together = self._together
        together.add(1)
        if self.under_way >= self._most or (
            self.under_way >= _FEW_UNDER_WAY and not together.fits(0)
        ):
            together.strike()
            self._enough = self.under_way // 2
            self._hold()

    def _no_longer_under_way(self, result: Any) -> Any:
        self.under_way -= 1
        self._together.add(-1)
        if self._enough is not None and self.under_way <= self._enough:
            self._enough = None
            self._let_go()
        return result

    def _failed_later(self, failure: Failure, id: MessageId | None, name: str) -> None:
        error = failure.value
        if not isinstance(error, Exception):
            failure.raiseException()
        self._failed(id, name, error)

    def _answered_later(self, result: Any, id: MessageId | None, name: str) -> None:
        if type(result) is not Answer:
            if id is not None:
                self._answer(id, name, result)
                # Broadcasts to this client may be held back, and the client waits for its answer.
                self._backlog.flush()
            return
        try:
            if id is not None:
                self._answer(id, name, result.value, self._session.oneway("info", result.info))
            # `then` releases the commit lock and sends broadcasts. The answer must be sent before.
            self._backlog.flush()
        finally:
            result.then()

    def _answer(self, id: MessageId, name: str, result: Any, before: bytes = b"") -> None:
        if self._is_stopped:
            return
        try:
            frame = self._session.reply(id, result)
        except (EncodeError, FrameTooLarge) as error:
            if self._peer.admit(Kind.CALL, detail=name):
                self._log.error(
                    "({label}) the result of {name} cannot be sent: {error}",
                    label=self._connection.label,
                    name=name,
                    error=brief(error),
                )
            frame = self._failure(id, ValueError(f"the result of {name} cannot be sent: {error}"))
        self._backlog.write(before + frame)

    def _failed(self, id: MessageId | None, name: str, error: Exception) -> None:
        self._figures[name].failed += 1
        if id is None and self._connection.failed(error):
            # The client's vote raises the error. Do not log each operation that fails.
            return
        if isinstance(error, ClientDisconnected):
            # The storage is a client of another server. To its clients, this server is not there
            # either: so they try again, and ask for the outcome of what they have committed.
            self._peer.drop("the server that the storage comes from cannot be reached")
            return
        usual = isinstance(error, _USUAL)
        if not usual and self._connection.has_closed_storage():
            # The client is disconnected. It asks again when the storage is served again.
            return
        if not usual and self._peer.admit(Kind.CALL, detail=name):
            self._log.warn(
                "({label}) {name} failed: {kind}: {error}",
                label=self._connection.label,
                name=name,
                kind=type(error).__name__,
                error=brief(told(error)),
            )
        if id is None:
            # A one-way call has no answer. Without the error the client would continue as if the
            # call had succeeded.
            self._peer.drop(f"{name} failed, and the client cannot be told in any other way")
        elif not self._is_stopped:
            self._backlog.write(self._failure(id, error))

    def _failure(self, id: MessageId, error: Exception) -> bytes:
        try:
            return self._session.failure(id, told(error))
        except (EncodeError, FrameTooLarge):
            # The error cannot be sent. Send its name only: a call without an answer would wait for
            # ever.
            return self._session.failure(id, StorageError(f"{type(error).__name__}"))


def _nothing() -> None:
    """Do nothing."""


def _timed(result: Any, seconds: Histogram, begin: float) -> Any:
    seconds.add(perf_counter() - begin)
    return result
