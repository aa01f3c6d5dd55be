"""What has been written to a client but not yet taken by its socket."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from zeotwisted.transport import DirectWriter

__all__ = ["Backlog"]

#: How many bytes are held back for those that follow.
_HOLD = 65536


def _nothing(*args: object) -> None:
    """Do nothing."""


@implementer(IPushProducer)
class Backlog:
    """Keeps one slow client from filling the server's memory.

    The transport says when its buffer is full and when it is empty again. In between the bytes are
    counted here. Over `pause_at`, no more requests of this client are dealt with. Over `drop_at`,
    the client is given up; only invalidations, which cannot be held back, bring it there.

    :param transport: writes the bytes.
    :param pause_reading: stops dealing with requests, those that have been read included.
    :param resume_reading: the opposite.
    :param drop: ends the connection, for the reason that it is given.
    """

    def __init__(
        self,
        transport: IConsumer,
        pause_reading: Callable[[], object],
        resume_reading: Callable[[], object],
        drop: Callable[[str], object],
        pause_at: int = 2**20,
        drop_at: int = 2**28,
    ) -> None:
        self._writer = DirectWriter(transport)
        self._pause_reading = pause_reading
        self._resume_reading = resume_reading
        self._drop = drop
        self._pause_at = pause_at
        self._drop_at = drop_at
        self._full = False
        self._counted = 0
        self._reading = True
        self._waiting: list[Deferred[None]] = []
        # What is held back, and how many bytes that is.
        self._held: list[bytes] | None = None
        self._held_size = 0
        transport.registerProducer(self, True)

    def hold(self) -> None:
        """Until `flush`, hold back what is written, so that it leaves together."""
        if self._held is None:
            self._held = []
            self._held_size = 0

    def flush(self) -> None:
        """Hold back nothing any more."""
        held, self._held = self._held, None
        if held:
            self.write(held[0] if len(held) == 1 else b"".join(held))

    def write(self, data: bytes) -> None:
        """Write `data`, in the order of the calls; send it now, or with what is held back."""
        if self._held is None:
            self._writer.write(data)
            if self._full:
                self._count(len(data))
            return
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size >= _HOLD:
            self.flush()
            self.hold()

    def _count(self, size: int) -> None:
        before = self._counted
        self._counted += size
        if before > self._drop_at:
            # One answer may be as long as it likes, but not if nobody takes the one before it.
            self._counted = 0
            self._drop("it does not read what it is sent")
        elif self._counted > self._pause_at and self._reading:
            self._reading = False
            self._pause_reading()

    def writable(self) -> Deferred[None]:
        """Return a Deferred that fires when there is room."""
        waiter: Deferred[None] = Deferred()
        if self._full:
            self._waiting.append(waiter)
        else:
            waiter.callback(None)
        return waiter

    def close(self) -> None:
        """The connection is lost: let everybody go on, and find out."""
        self._full = False
        self._held = None
        # They are the connection's, which would hold itself in memory by them.
        self._pause_reading = self._resume_reading = _nothing
        self._drop = _nothing
        self._let_go()

    def pauseProducing(self) -> None:
        """The transport's buffer is full; it says so again at each write."""
        if not self._full:
            self._full = True
            self._counted = 0

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        self._full = False
        if not self._reading:
            self._reading = True
            self._resume_reading()
        self._let_go()

    def stopProducing(self) -> None:
        """The connection is lost."""
        self.close()

    def _let_go(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)
