"""Notices that a peer is gone although the connection is not closed.

After a power cut, or when a firewall drops packets or the peer's process is stopped, the connection
stays open. The only sign is silence. Silence is counted in ticks of a timer, not measured with a
clock. If this process was stopped, or the machine's clock was set, only one tick passes, and the
bytes that arrived meanwhile are read before the next tick.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from twisted.internet.interfaces import IDelayedCall, IReactorTime

__all__ = ["Liveness", "Manners", "Silence", "Verdict"]

#: The longest silence, in ticks.
_TICKS = 12

#: Ticks of silence after which the peer is asked for an answer.
_PROBE = 2


class Manners(Enum):
    """How many ticks a peer may be silent while this end waits for its answer."""

    #: It always answers at once. True of zeotwisted's own ends.
    PROMPT = 5
    #: It does one thing at a time. A stock server is silent to all of its clients while it votes or
    #: finishes a transaction. Closing the connection then would lose that transaction.
    BUSY = 9
    #: It cannot be asked for an answer. True of stock clients.
    RETICENT = _TICKS


class Verdict(Enum):
    """What a silence means."""

    FINE = "it is there"
    PROBE = "ask whether it is there"
    GONE = "it is gone"


class Silence:
    """Counts how long a peer has been silent.

    :ivar heard: to be set whenever the peer shows that it is there; that is all that it costs.
    """

    def __init__(self, manners: Manners) -> None:
        self.heard = False
        #: The number of ticks since the last message.
        self.ticks = 0
        self._manners = manners
        self._waited = 0

    def tick(self, waiting: bool) -> Verdict:
        """Some time has passed.

        :param waiting: whether a caller at this end waits for the peer.
        """
        if self.heard:
            self.heard = False
            self.ticks = self._waited = 0
            return Verdict.FINE
        self.ticks += 1
        can_be_asked = self._manners is not Manners.RETICENT
        # Once it has been asked, we wait for it.
        if can_be_asked and (waiting or self.ticks > _PROBE):
            self._waited += 1
        # The silence began within a tick, not with it.
        if self._waited == self._manners.value or self.ticks == _TICKS - 1:
            return Verdict.GONE
        return Verdict.PROBE if can_be_asked and self.ticks == _PROBE else Verdict.FINE


class Liveness:
    """Watches over a peer, in the reactor's thread.

    :param clock: the reactor.
    :param timeout: the longest silence, in seconds.
    :param waiting: whether a caller at this end waits for the peer.
    :param progress: a value that changes when the peer takes some of what waits to be sent, which
        shows that it is there although it says nothing.
    :param probe: asks the peer to say something.
    :param gone: is called once, with the length of the silence in seconds.
    :ivar silence: counts the ticks without a message from the peer.
    """

    def __init__(
        self,
        clock: IReactorTime,
        timeout: float,
        manners: Manners,
        waiting: Callable[[], bool],
        progress: Callable[[], object],
        probe: Callable[[], object],
        gone: Callable[[float], object],
    ) -> None:
        self.silence = Silence(manners)
        self._clock = clock
        self._interval = timeout / _TICKS
        self._waiting = waiting
        self._progress = progress
        self._probe = probe
        self._gone = gone
        self._before = progress()
        self._timer: IDelayedCall | None = None
        self._wait()

    def _wait(self) -> None:
        self._timer = self._clock.callLater(self._interval, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._progress()
        if now != self._before:
            self._before = now
            self.silence.heard = True
        verdict = self.silence.tick(self._waiting())
        if verdict is Verdict.GONE:
            self._gone(self.silence.ticks * self._interval)
            return
        # It may be the end of the connection.
        self._wait()
        if verdict is Verdict.PROBE:
            self._probe()

    def stop(self) -> None:
        """The connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
