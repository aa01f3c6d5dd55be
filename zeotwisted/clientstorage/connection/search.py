"""The search for a server: it tries all addresses at once and chooses the first one that fits."""

from __future__ import annotations

import random
from collections.abc import Callable, Coroutine, Sequence
from enum import IntEnum
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from ZODB.POSException import ReadOnlyError

from zeotwisted.exceptions import ClientDisconnected, ServerException

from .address import Address, describe
from .candidate import Candidate

__all__ = ["NoServer", "Rank", "Search"]

#: How often (seconds) to judge the best server again.
_INTERVAL = 0.25


class Rank(IntEnum):
    """How well a server fits; a lower rank is better."""

    FITS = 0
    READ_ONLY = 1
    #: The server has not seen transactions that this client has seen.
    OLDER = 2


#: How long (seconds) to wait for a better server after the first one of a rank. An OLDER server may
#: be a replica that is still catching up.
_PATIENCE = {Rank.FITS: 0.0, Rank.READ_ONLY: 1.0, Rank.OLDER: 5.0}


class NoServer(ClientDisconnected):
    """No server can be used.

    :ivar failures: the addresses, and the reason for each.
    """

    def __init__(self, failures: Sequence[tuple[Address, Exception]]) -> None:
        self.failures = tuple(failures)
        super().__init__("; ".join(f"{describe(where)}: {_reason(why)}" for where, why in failures))

    @property
    def explanation(self) -> str:
        """The reasons; if there is only one server, without its address."""
        return _reason(self.failures[0][1]) if len(self.failures) == 1 else str(self)

    def includes(self, kind: type[Exception]) -> bool:
        """Return whether any of the reasons is an exception of this kind."""
        return any(isinstance(why, kind) for _, why in self.failures)


def _reason(failure: Exception) -> str:
    if isinstance(failure, ServerException) and failure.args:
        said = failure.args[-1]
        return "; ".join(map(str, said)) if isinstance(said, tuple) else str(failure)
    if isinstance(failure, ReadOnlyError):
        return f"it is read-only and we want to write; open it with read_only=True ({failure})"
    return str(failure)


class Search:
    """One search. It belongs to the reactor's thread.

    :param reach: connects to an address; may be cancelled.
    :param judge: returns how well a server fits; raises an exception if it cannot be used.
    :ivar outcome: fires with the candidate, or fails with `NoServer`. It does not fire after
        `cancel`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        addresses: Sequence[Address],
        reach: Callable[[Address], Coroutine[Any, Any, Candidate]],
        judge: Callable[[Candidate], Rank],
    ) -> None:
        self.outcome: Deferred[Candidate] = Deferred()
        self._clock = clock
        self._addresses = addresses
        self._reach = reach
        self._judge = judge
        self._attempts: list[Deferred[Any]] = []
        self._under_way = len(addresses)
        self._best: Candidate | None = None
        self._rank = Rank.OLDER
        self._failures: list[tuple[Address, Exception]] = []
        self._since = 0.0
        self._next_look: IDelayedCall | None = None
        self._over = False

    def start(self) -> None:
        """Try all addresses, in any order: so the clients spread over several equal servers."""
        for address in random.sample(self._addresses, len(self._addresses)):
            if self._over:
                return
            attempt = Deferred.fromCoroutine(self._reach(address))
            self._attempts.append(attempt)
            attempt.addCallback(self._reached)
            attempt.addErrback(self._failed, address)

    def cancel(self) -> None:
        """End the search. `outcome` does not fire."""
        self._end(None)

    def _reached(self, candidate: Candidate) -> None:
        if self._over:
            candidate.protocol.close(ClientDisconnected("another server was chosen"))
            return
        try:
            rank = self._judge(candidate)
        except Exception as error:
            candidate.protocol.close(error)
            raise
        self._consider(rank, candidate)
        self._one_less()

    def _failed(self, failure: Failure, address: Address) -> None:
        if not self._over:
            assert isinstance(failure.value, Exception)
            self._failures.append((address, failure.value))
            self._one_less()

    def _one_less(self) -> None:
        self._under_way -= 1
        self._decide()

    def _consider(self, rank: Rank, candidate: Candidate) -> None:
        if self._best is not None:
            if rank >= self._rank:
                candidate.protocol.close(ClientDisconnected("another server was chosen"))
                return
            self._best.protocol.close(ClientDisconnected("a better server was found"))
        else:
            self._since = self._clock.seconds()
        self._best, self._rank = candidate, rank

    def _decide(self) -> None:
        best = self._best
        if best is None:
            if not self._under_way:
                self._end(None)
                self.outcome.errback(Failure(NoServer(self._failures)))
            return
        nobody_else = not self._under_way and self._rank is not Rank.OLDER
        if nobody_else or self._clock.seconds() - self._since >= _PATIENCE[self._rank]:
            self._end(best)
            self.outcome.callback(best)
        elif self._next_look is None:
            self._next_look = self._clock.callLater(_INTERVAL, self._look)

    def _look(self) -> None:
        best = self._best
        assert best is not None
        self._next_look = None
        try:
            self._rank = self._judge(best)
        except Exception as error:
            self._best = None
            best.protocol.close(error)
            self._failures.append((best.address, error))
        self._decide()

    def _end(self, chosen: Candidate | None) -> None:
        if self._over:
            return
        self._over = True
        if self._next_look is not None:
            self._next_look.cancel()
        if self._best is not None and self._best is not chosen:
            self._best.protocol.close(ClientDisconnected("the search was given up"))
        for attempt in self._attempts:
            attempt.cancel()
