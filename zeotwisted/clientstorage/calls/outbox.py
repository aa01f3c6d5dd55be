"""The queue of everything that is sent to the server."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Lock
from typing import Any

from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

from zeotwisted.transport import DirectSender, EncryptingSender, sender, unsent

__all__ = ["Outbox"]

#: How many bytes may be held back, and how many a calling thread sends at once without blocking.
#: More than that may not fit into a socket's buffer.
_SMALL = 65536

#: How many bytes may be queued before a thread that adds a frame has to wait. The transport may
#: have as many again.
_FULL = 2 * 1024 * 1024


@implementer(IPullProducer, IPushProducer)
class Outbox:
    """A queue of frames, filled by any thread.

    If possible, the thread that adds a frame also sends it: a switch to the reactor's thread costs
    more than all the rest of a call. While the transport still has something to send, that would
    change the order. Then the frame stays in the queue and the reactor is woken. The transport
    sends all further frames, too, until the queue is empty.

    `append_long` sends a long frame in the calling thread, which waits for the socket: switching
    between two threads for each piece of a blob takes longer. The same thread then sends the frames
    that other threads have added meanwhile.

    The transport gets the next frames when it has sent those before. For a plain socket, the outbox
    is a pull producer. Any other transport, such as Twisted's TLS, would need the installed reactor
    for that, so the outbox is its push producer.

    :param transport: the reactor's transport.
    :param direct: sends without the transport; None if that is impossible.
    :param call_from_thread: runs a function in the reactor's thread; may be called in any.
    :param is_reactor_thread: returns whether the calling thread is the reactor's thread.
    """

    def __init__(
        self,
        transport: Any,
        direct: DirectSender | EncryptingSender | None,
        call_from_thread: Callable[..., Any],
        is_reactor_thread: Callable[[], bool],
    ) -> None:
        self._transport = transport
        self._send = sender(transport)
        self._call_from_thread = call_from_thread
        self._is_reactor_thread = is_reactor_thread
        # Guards the attributes below, and the order of the frames.
        self._lock = Lock()
        self._drained = Condition(self._lock)
        self._direct = direct
        self._frames: list[bytes] = []
        self._size = 0
        # Whether frames must be queued: the reactor was woken, or the transport or a thread sends.
        self._busy = False
        # Whether a thread is in `append_long`.
        self._thread_sends = False
        self._paused = False
        self._closed = False
        if direct is None:
            transport.registerProducer(self, True)

    @property
    def full(self) -> bool:
        """Whether a thread that adds frames has to wait; in any thread."""
        return self._size > _FULL

    @property
    def waits(self) -> bool:
        """Whether data waits until the server reads; in any thread."""
        return self.full or self._thread_sends

    @property
    def progress(self) -> tuple[int, ...]:
        """A value that changes when the socket takes data that had to wait."""
        sent = 0 if self._direct is None else self._direct.sent
        return sent, *unsent(self._transport)

    def wait_for_room(self) -> None:
        """Wait while too much is queued. Do not wait in the reactor's thread, or once closed."""
        if not self.full or self._is_reactor_thread():
            return
        with self._drained:
            while self.full:
                self._drained.wait()

    def append(self, frame: bytes, hold_back: bool = False) -> None:
        """Add a frame.

        :param hold_back: another frame follows soon; this one may wait and leave with it.
        """
        with self._lock:
            if self._closed:
                return
            self._frames.append(frame)
            self._size += len(frame)
            if self._busy or (hold_back and self._size < _SMALL):
                return
            if self._direct is not None and self._size <= _SMALL and self._send_directly():
                return
            self._busy = True
        if self._is_reactor_thread():
            self._flush()
        else:
            self._call_from_thread(self._flush)

    def _send_directly(self) -> bool:
        """Send all frames; return whether the socket took them. The caller holds the lock."""
        assert self._direct is not None
        data = b"".join(self._frames)
        try:
            sent = self._direct.send(data)
            self._frames = [data[sent:]] if sent < len(data) else []
            self._size -= sent
        except BaseException:
            # Ctrl-C: it is unknown how much was sent, and nothing may be sent behind it.
            self._busy = True
            self._call_from_thread(self._transport.abortConnection)
            raise
        return not self._frames

    def append_long(self, pieces: list[bytes]) -> None:
        """Add a frame that is in pieces. The calling thread may wait until it is sent."""
        if not self._send_long(pieces):
            self.append(b"".join(pieces))

    def _send_long(self, pieces: list[bytes]) -> bool:
        """Send a frame, behind those held back; return False if this thread may not send."""
        if self._direct is None or self._is_reactor_thread():
            return False
        with self._lock:
            if self._busy or self._closed:
                return False
            self._busy = self._thread_sends = True
            held_back, self._frames = self._frames, []
            self._size = 0
        try:
            left = self._direct.send_waiting([*held_back, *pieces])
            while frames := self._next(left):
                left = self._direct.send_waiting(frames)
        except BaseException:
            # Ctrl-C: it is unknown how much was sent.
            self._call_from_thread(self._transport.abortConnection)
            with self._lock:
                self._thread_ends()
            raise
        return True

    def _next(self, left: bytes) -> list[bytes]:
        """Return the frames that the thread has to send next, if any.

        :param left: what the socket did not take; if it is not empty, the thread ends.
        """
        with self._lock:
            if self._frames and not left:
                return self._take_locked()
            self._thread_ends()
            self._busy = bool(left)
            if left and not self._closed:
                # Sending has failed. The reactor tries again and finds the cause.
                self._frames.insert(0, left)
                self._size += len(left)
                self._call_from_thread(self._flush)
        return []

    def _thread_ends(self) -> None:
        """Note that the thread does not send any more. The caller holds the lock."""
        self._thread_sends = False
        if self._closed and self._direct is not None:
            self._direct.close()

    def _flush(self) -> None:
        """Let the transport send, in the reactor's thread."""
        if self._closed:
            # The connection was lost after this call was scheduled.
            return
        if self._direct is None:
            self._push()
        else:
            # The transport calls `resumeProducing` at once, and again when it has sent all.
            self._transport.registerProducer(self, False)
            self._send()

    def _take(self) -> list[bytes]:
        """Return all frames. If there are none, a thread may send directly again."""
        with self._lock:
            return self._take_locked()

    def _take_locked(self) -> list[bytes]:
        frames, self._frames = self._frames, []
        self._size = 0
        self._busy = bool(frames)
        self._drained.notify_all()
        return frames

    def _push(self) -> None:
        # A loop: during the write, frames may be added, or `pauseProducing` may be called.
        while not self._paused and (frames := self._take()):
            self._transport.writeSequence(frames)

    def pauseProducing(self) -> None:
        """The transport has enough for now; see Twisted's IPushProducer."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport has sent everything; see Twisted's producers."""
        if self._direct is None:
            self._paused = False
            self._push()
        elif frames := self._take():
            self._transport.writeSequence(frames)
        else:
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        """See Twisted's producers. `close` does what is necessary."""

    def abandon(self) -> None:
        """After fork: close the child's copy of the descriptor, and replace the lock."""
        self._lock = Lock()
        self._drained = Condition(self._lock)
        # The thread that was sending does not exist in this process.
        self._thread_sends = False
        self.close()

    def close(self) -> None:
        """Drop all frames and wake the threads that wait; in any thread."""
        with self._lock:
            self._closed = True
            self._frames.clear()
            self._size = 0
            self._drained.notify_all()
            if self._direct is None:
                return
            if self._thread_sends:
                self._direct.shut_down()
            else:
                self._direct.close()
