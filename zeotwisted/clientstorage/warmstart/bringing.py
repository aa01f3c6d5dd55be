"""Brings the records in over one connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from ZODB.utils import maxtid

from zeotwisted.exceptions import UnrecognizedResult
from zeotwisted.protocol import are_joined, split

from ..calls import ClientProtocol
from ..records import Coherence, revisions_of
from .pace import Pace

__all__ = ["Bringing"]

#: How many oids an answer may have.
_MOST = 1000

#: A cache with less room than this (bytes) is full.
_LITTLE = 8 * 1024

#: How many bytes a record takes in a cache besides its data, about.
_OVERHEAD = 110


class Bringing:
    """Asks for what others use, and for its records, until there are no more, or the cache is full.

    Answers come in any thread, which goes on with it: to wake the reactor's thread would take
    longer than the answer. There is one question at a time, and so one thread. Pauses and the end
    are in the reactor's thread.

    :param reactor: for timers, and for calls from other threads.
    :param over: called at the end; with an exception if there is one, and otherwise None.
    :param room: how many bytes to bring at most, if the cache does not tell.
    :ivar records: how many have come.
    :ivar size: how many bytes they have.
    """

    def __init__(
        self,
        protocol: ClientProtocol,
        coherence: Coherence,
        reactor: Any,
        over: Callable[[BaseException | None], None],
        room: int,
        seconds: Callable[[], float] = perf_counter,
    ) -> None:
        self.records = self.size = 0
        self._protocol = protocol
        self._coherence = coherence
        self._reactor = reactor
        self._over = over
        self._room = room
        self._seconds = seconds
        self._pace = Pace()
        # What the server has told, and is not asked for yet; how many it has told in all; and
        # whether these are all.
        self._oids: deque[bytes] = deque()
        self._told = 0
        self._are_all = False
        self._later: IDelayedCall | None = None
        self._is_over = False

    def go_on(self) -> None:
        """Ask for something more, or end it; in any thread. Call this once, to begin."""
        try:
            self._ask()
        except Exception as error:
            self._end(error)

    def _ask(self) -> None:
        if self._is_over:
            return
        if self._left() < min(_LITTLE, self._room // 8):
            self._end()
            return
        oids = self._next()
        if oids:
            answer = _Answer(partial(self._records_came, oids, self._seconds()), self._end)
            self._protocol.call(answer, "load_popular", oids, maxtid)
        elif self._are_all:
            self._end()
        else:
            self._protocol.call(_Answer(self._oids_came, self._end), "popular_oids", self._told)

    def _left(self) -> int:
        """Return how many bytes may still come."""
        left = self._coherence.room()
        return self._room - self.size - _OVERHEAD * self.records if left is None else left

    def _next(self) -> Sequence[bytes]:
        """Return the next oids to ask for; none if no more are known."""
        while self._oids:
            some = [self._oids.popleft() for _ in range(min(self._pace.records, len(self._oids)))]
            lacking = self._coherence.lacking(some)
            if lacking:
                return lacking
        return ()

    def _end(self, error: BaseException | None = None) -> None:
        self._reactor.callFromThread(self.stop, error)

    def stop(self, error: BaseException | None = None) -> None:
        """End it, if it is not over yet; in the reactor's thread.

        An answer that is still to come is kept, and no more is asked for.
        """
        if self._is_over:
            return
        self._is_over = True
        if self._later is not None:
            self._later.cancel()
            self._later = None
        over, self._over = self._over, _nothing
        over(error)

    def _oids_came(self, joined: Any) -> None:
        if not are_joined(joined) or len(joined) > 8 * _MOST:
            raise UnrecognizedResult("popular_oids", joined)
        self._oids.extend(split(joined))
        self._told += len(joined) // 8
        self._are_all = not joined
        self._ask()

    def _records_came(self, oids: Sequence[bytes], asked: float, results: Any) -> None:
        revisions = revisions_of("load_popular", oids, results)
        size = sum(len(data) for _, (data, _, _) in revisions)
        self._keep(revisions)
        # The answer may be about the first few only.
        self._oids.extendleft(reversed(oids[len(results) :]))
        # This call itself is not counted any more.
        is_waited_for = self._protocol.outstanding > 0
        pause = self._pace.came(len(results), size, self._seconds() - asked, is_waited_for)
        if pause:
            self._reactor.callFromThread(self._pause, pause)
        else:
            self._ask()

    def _keep(self, revisions: Sequence[tuple[bytes, tuple[bytes, bytes, bytes | None]]]) -> None:
        left = self._left()
        kept = []
        for oid, (data, start, end) in revisions:
            if end is None and len(data) + _OVERHEAD <= left:
                left -= len(data) + _OVERHEAD
                kept.append((oid, start, data))
        self._coherence.loaded_ahead(kept)
        self.records += len(kept)
        self.size += sum(len(data) for _, _, data in kept)

    def _pause(self, seconds: float) -> None:
        if not self._is_over:
            self._later = self._reactor.callLater(seconds, self._go_on_later)

    def _go_on_later(self) -> None:
        self._later = None
        self.go_on()


def _nothing(error: BaseException | None) -> None:
    """What is called at the end when the end has been told."""


class _Answer:
    """Receives an answer; see `calls.Answer`.

    :param came: gets it.
    :param failed: gets an exception: the answer is one, or the connection is lost, or `came` has
        raised it.
    """

    __slots__ = ("_came", "_failed")

    def __init__(
        self, came: Callable[[Any], None], failed: Callable[[BaseException], None]
    ) -> None:
        self._came = came
        self._failed = failed

    def callback(self, value: Any) -> None:
        try:
            self._came(value)
        except Exception as error:
            self._failed(error)

    def errback(self, error: BaseException) -> None:
        self._failed(error)
