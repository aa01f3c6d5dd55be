"""Notices that a peer is gone although the connection is not closed.

After a power cut, or when a firewall drops packets or the peer's process is stopped, the connection
stays open. The only sign is that nothing is received. This time is counted in ticks of a timer, not
measured with a clock. So if this process was stopped, or the machine's clock was set, only one tick
passes, and the reactor reads the bytes that arrived meanwhile before the next tick.
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

    #: It always answers at once, as zeotwisted's clients and servers do.
    PROMPT = 5
    #: It may block. A stock server answers no client while it votes or finishes a transaction, and
    #: closing the connection then would lose that transaction.
    BUSY = 9
    #: It cannot be asked for an answer, as stock clients cannot.
    RETICENT = _TICKS


class Verdict(Enum):
    """The conclusion from a silence."""

    FINE = "it is there"
    PROBE = "ask whether it is there"
    GONE = "it is gone"


class Silence:
    """Counts how long a peer has been silent.

    :ivar heard: set this to True whenever the peer shows that it is alive. Setting an attribute is
        all that is done for each message.
    """

    def __init__(self, manners: Manners) -> None:
        self.heard = False
        #: The number of ticks since the last message.
        self.ticks = 0
        self._manners = manners
        self._waited = 0

    @property
    def was_asked(self) -> bool:
        """Whether the peer has had one tick to answer the question."""
        return self._manners is not Manners.RETICENT and self.ticks > _PROBE

    def tick(self, waiting: bool) -> Verdict:
        """Count one tick of the timer, and return what to do.

        :param waiting: whether a caller at this end waits for the peer.
        """
        if self.heard:
            self.heard = False
            self.ticks = self._waited = 0
            return Verdict.FINE
        self.ticks += 1
        can_be_asked = self._manners is not Manners.RETICENT
        # After the probe, this end waits for an answer too.
        if can_be_asked and (waiting or self.ticks > _PROBE):
            self._waited += 1
        # The silence is up to one tick longer than the count, and must not exceed the timeout.
        if self._waited == self._manners.value or self.ticks == _TICKS - 1:
            return Verdict.GONE
        return Verdict.PROBE if can_be_asked and self.ticks == _PROBE else Verdict.FINE


class Liveness:
    """Monitors a peer, in the reactor's thread.

    :param clock: the reactor.
    :param timeout: the longest silence, in seconds.
    :param waiting: returns whether a caller at this end waits for the peer.
    :param progress: returns a value that changes when the socket accepts waiting data. The peer is
        alive then, even if it sends nothing.
    :param probe: sends the peer a message that it answers.
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
        # Start the timer first: the probe may end the connection and call `stop`.
        self._wait()
        if verdict is Verdict.PROBE:
            self._probe()

    @property
    def unanswered(self) -> float:
        """How long (seconds) the peer has been silent, if it was asked and has not answered; or 0.

        It is known some seconds after the question: the ticks are counted.
        """
        silence = self.silence
        if silence.heard or not silence.was_asked:
            return 0.0
        return silence.ticks * self._interval

    def stop(self) -> None:
        """Stop the timer, because the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
