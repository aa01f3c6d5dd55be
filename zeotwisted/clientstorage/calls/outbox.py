"""Everything that is sent to the server, in one order."""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition, Lock
from typing import Any

from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

from zeotwisted.transport import DirectSender, EncryptingSender, sender, unsent

__all__ = ["Outbox"]

#: How many bytes may be held back before they are sent anyhow, and how many a calling thread sends
#: without being ready to wait; more than that does not fit into a socket's buffer.
_SMALL = 65536

#: How many bytes may be queued before a thread that adds to them has to wait. The transport may
#: have as many again.
_FULL = 2 * 1024 * 1024


@implementer(IPullProducer, IPushProducer)
class Outbox:
    """A queue of frames, filled by any thread.

    It is emptied by the thread that fills it, where that is possible: the detour through the
    reactor's thread costs more than all the rest of a call. It is not possible while the transport
    still has something to send: the frames are left to it, the reactor is woken, and until it has
    sent everything, all further frames go the same way, behind them.

    A thread that may wait sends long frames itself, too, and waits for the socket rather than for
    the reactor: two threads that take turns at every piece of a blob take longer than the socket.
    What others add meanwhile is sent behind it, by the same thread.

    The transport gets the next frames when it has sent those before. A plain socket asks for them
    each time that it is empty, as it does with a pull producer. Anything else, such as TLS of
    Twisted's, needs the global reactor for that, and is served as by a push producer.

    :param transport: what the reactor writes to.
    :param direct: a way past it; None if there is none.
    :param call_from_thread: runs a function in the reactor's thread; may be called in any.
    :param is_reactor_thread: whether the caller is the reactor's thread.
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
        # Guards all that follows, and the order of what is sent.
        self._lock = Lock()
        self._drained = Condition(self._lock)
        self._direct = direct
        self._frames: list[bytes] = []
        self._size = 0
        # Whether the reactor has been woken or has something to send, or a thread is sending.
        self._busy = False
        # Whether it is a thread.
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
        """Whether the server is to take something; in any thread."""
        return self.full or self._thread_sends

    @property
    def progress(self) -> tuple[int, ...]:
        """A value that changes when the server takes something that had to wait."""
        sent = 0 if self._direct is None else self._direct.sent
        return sent, *unsent(self._transport)

    def wait_for_room(self) -> None:
        """Wait while too much is queued; do not wait in the reactor's thread, nor once closed."""
        if not self.full or self._is_reactor_thread():
            return
        with self._drained:
            while self.full:
                self._drained.wait()

    def append(self, frame: bytes, hold_back: bool = False) -> None:
        """Add a frame.

        :param hold_back: something follows soon, and they may leave together.
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
        """Send what there is; return whether that was possible. The lock is held."""
        assert self._direct is not None
        data = b"".join(self._frames)
        try:
            sent = self._direct.send(data)
            self._frames = [data[sent:]] if sent < len(data) else []
            self._size -= sent
        except BaseException:
            # Ctrl-C: nobody knows how much was sent, and nothing may be sent behind it.
            self._busy = True
            self._call_from_thread(self._transport.abortConnection)
            raise
        return not self._frames

    def append_long(self, pieces: list[bytes]) -> None:
        """Add a frame that is in pieces, and that the calling thread may wait for."""
        if not self._send_long(pieces):
            self.append(b"".join(pieces))

    def _send_long(self, pieces: list[bytes]) -> bool:
        """Send a frame, and what was added before it; return False if it is for others to send."""
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
            # Ctrl-C: nobody knows how much was sent.
            self._call_from_thread(self._transport.abortConnection)
            with self._lock:
                self._thread_ends()
            raise
        return True

    def _next(self, left: bytes) -> list[bytes]:
        """Return what the thread has to send now, which has sent all but what is `left`."""
        with self._lock:
            if self._frames and not left:
                return self._take_locked()
            self._thread_ends()
            self._busy = bool(left)
            if left and not self._closed:
                # The reactor will find out what is wrong.
                self._frames.insert(0, left)
                self._size += len(left)
                self._call_from_thread(self._flush)
        return []

    def _thread_ends(self) -> None:
        """No thread sends any more; the lock is held."""
        self._thread_sends = False
        if self._closed and self._direct is not None:
            self._direct.close()

    def _flush(self) -> None:
        """Let the transport send, in the reactor's thread."""
        if self._closed:
            # It was asked for before the connection was lost.
            return
        if self._direct is None:
            self._push()
        else:
            # It asks for frames at once, and again when it has sent them.
            self._transport.registerProducer(self, False)
            self._send()

    def _take(self) -> list[bytes]:
        """Return all frames, or note that there is nothing to send any more."""
        with self._lock:
            return self._take_locked()

    def _take_locked(self) -> list[bytes]:
        frames, self._frames = self._frames, []
        self._size = 0
        self._busy = bool(frames)
        self._drained.notify_all()
        return frames

    def _push(self) -> None:
        # While the transport takes them, `pauseProducing` may be called, or frames be added.
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
        """The connection is lost."""

    def abandon(self) -> None:
        """In a child process: close our copy of the descriptor."""
        self._lock = Lock()
        self._drained = Condition(self._lock)
        # The thread that was sending does not exist in this process.
        self._thread_sends = False
        self.close()

    def close(self) -> None:
        """Send nothing more, and let nobody wait; in any thread."""
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
