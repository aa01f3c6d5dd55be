"""The bytes that were written to a client, and that its socket has not accepted yet."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from zeotwisted.transport import DirectWriter

__all__ = ["Backlog"]

#: How many bytes to collect, after `Backlog.hold`, before they are sent.
_HOLD = 65536


def _nothing(*args: object) -> None:
    """Do nothing."""


@implementer(IPushProducer)
class Backlog:
    """Limits the memory that one slow client uses in the server.

    The transport reports when its buffer is full and when it is empty again. In between, the bytes
    are counted here. When they exceed `pause_at`, the server stops handling the client's requests.
    When they exceed `drop_at`, the connection is closed. Only invalidations can exceed it: they are
    sent without a request.

    :param transport: writes the bytes.
    :param pause_reading: stops the handling of requests, also of those that were read already.
    :param resume_reading: continues the handling of requests.
    :param drop: closes the connection; the argument is the reason.
    :param counted: gets the number of bytes that wait, each time it changes.
    :param pause_at: a number of bytes.
    :param drop_at: a number of bytes.
    """

    def __init__(
        self,
        transport: IConsumer,
        pause_reading: Callable[[], object],
        resume_reading: Callable[[], object],
        drop: Callable[[str], object],
        counted: Callable[[int], object] = _nothing,
        pause_at: int = 2**20,
        drop_at: int = 2**28,
    ) -> None:
        self._writer = DirectWriter(transport)
        self._pause_reading = pause_reading
        self._resume_reading = resume_reading
        self._drop = drop
        self._tell_count = counted
        self._pause_at = pause_at
        self._drop_at = drop_at
        self._full = False
        self._counted = 0
        self._reading = True
        self._waiting: list[Deferred[None]] = []
        # The data that is held back, and its size in bytes. None: data is sent at once.
        self._held: list[bytes] | None = None
        self._held_size = 0
        transport.registerProducer(self, True)

    @property
    def is_full(self) -> bool:
        """Whether the client does not take what it is sent."""
        return self._full

    @property
    def unsent(self) -> int:
        """How many bytes wait that the transport has not accepted."""
        return self._counted

    def hold(self) -> None:
        """Collect what is written, until `flush`, so that it is sent together."""
        if self._held is None:
            self._held = []
            self._held_size = 0

    def flush(self) -> None:
        """Send what was held back, and end `hold`."""
        held, self._held = self._held, None
        if held:
            self.write(held[0] if len(held) == 1 else b"".join(held))

    def write(self, data: bytes) -> None:
        """Write `data`, in the order of the calls.

        After `hold`, it is sent with the next `flush`, or when enough data is held back.
        """
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
            # `before` does not include this message: a single answer may be of any size, but only
            # if the client reads the messages before it.
            self._counted = 0
            self._drop(f"it does not read what it is sent (send-limit {self._drop_at})")
        elif self._counted > self._pause_at and self._reading:
            self._reading = False
            self._pause_reading()
        self._tell_count(self._counted)

    def writable(self) -> Deferred[None]:
        """Return a Deferred that fires when the transport's buffer is not full."""
        waiter: Deferred[None] = Deferred()
        if self._full:
            self._waiting.append(waiter)
        else:
            waiter.callback(None)
        return waiter

    def close(self) -> None:
        """Call this when the connection is lost. Fire all Deferreds of `writable`."""
        self._full = False
        self._held = None
        # These methods of the connection would keep it in memory, in a reference cycle.
        self._pause_reading = self._resume_reading = _nothing
        self._drop = self._tell_count = _nothing
        self._let_go()

    def pauseProducing(self) -> None:
        """See `IPushProducer`: the buffer is full. The transport calls this again at each write."""
        if not self._full:
            self._full = True
            self._counted = 0

    def resumeProducing(self) -> None:
        """See `IPushProducer`: the transport's buffer is empty."""
        self._full = False
        if self._counted:
            self._counted = 0
            self._tell_count(0)
        if not self._reading:
            self._reading = True
            self._resume_reading()
        self._let_go()

    def stopProducing(self) -> None:
        """See `IPushProducer`: the connection is lost."""
        self.close()

    def _let_go(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)
