"""What the server sends is read by the reactor, or by a thread that waits for an answer.

To wake one thread from another is the most expensive part of a call. A thread that waits for an
answer therefore reads it itself, unless another one is reading: it *leads*. Other threads that wait
follow: the thread that reads their answers, or the reactor, wakes them.

The socket is watched by an epoll of its own, which the reactor watches: a thread that leads takes
the socket out of that, so that the reactor does not wake up for what is not its own.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from zeotwisted.reactor import greenlets
from zeotwisted.transport import ReadSize, bottom

__all__ = ["Reading", "reading"]


@implementer(IReadDescriptor)
class Reading:
    """The reading end of a transport's socket.

    Threads that lead call what stands first; from `fileno` on all belongs to the reactor's.

    :param transport: a socket's. It sends and closes as ever, and no longer reads on its own.
    :param handle: the socket.
    :param reactor: the transport's.
    :param decrypt: tells what it means that was received; None if that is plain.
    """

    def __init__(
        self,
        transport: Any,
        handle: socket.socket,
        reactor: Any,
        decrypt: Callable[[bytes], bytes] | None,
    ) -> None:
        self._transport = transport
        self._decrypt = decrypt
        self._amount = ReadSize(transport)
        self._reactor = reactor
        # Another descriptor of the same socket: the transport may close its own at any moment.
        self._socket = handle.dup()
        self._socket.setblocking(False)
        self._ready = select.poll()
        self._ready.register(self._socket, select.POLLIN | select.POLLRDHUP)
        self._data_only = [(self._socket.fileno(), select.POLLIN)]
        self._watch = select.epoll()
        self._watch.register(self._socket, select.EPOLLIN)
        # Held by the thread that reads; for ever, once it is closed.
        self._baton = threading.Lock()
        self._closed = False
        transport.pauseProducing()
        reactor.addReader(self)

    # A thread that leads.

    def begin(self) -> bool:
        """Begin to read, if nobody else does; return whether."""
        if not self._baton.acquire(blocking=False):
            return False
        self._watch.modify(self._socket, 0)
        return True

    def wait(self) -> bool:
        """Wait until something has come; return whether it can be received.

        The end of the connection, and whatever is wrong with it, is left to the reactor.
        """
        return self._ready.poll() == self._data_only

    def receive(self) -> bytes:
        """Return what has come; nothing if there is any trouble, or only a part of something."""
        try:
            data = self._socket.recv(self._amount.size)
        except OSError:
            return b""
        self._amount.received(len(data))
        return data if self._decrypt is None else self._decrypt(data)

    def end(self) -> None:
        """Let others read; `begin` has been successful before."""
        self._watch.modify(self._socket, select.EPOLLIN)
        self._release()

    def _release(self) -> None:
        self._baton.release()
        # `close` has tried in vain to take it.
        if self._closed and self._baton.acquire(blocking=False):
            self._close_files()

    # The reactor.

    def fileno(self) -> int:
        """See `IFileDescriptor`."""
        return -1 if self._watch.closed else self._watch.fileno()

    def logPrefix(self) -> str:
        """See `ILoggingContext`."""
        return self._transport.logPrefix()

    def doRead(self) -> Any:
        """See `IReadDescriptor`."""
        # It may have been woken before a thread began to lead.
        if not self._baton.acquire(blocking=False):
            return None
        try:
            return self._transport.doRead()
        finally:
            self._release()

    def connectionLost(self, reason: Failure) -> None:
        """See `IFileDescriptor`: what reading has found out is the transport's business."""
        self._transport.stopWriting()
        self._transport.connectionLost(reason)

    def close(self) -> None:
        """Read nothing more, in the reactor's thread; wake the thread that leads."""
        if self._closed:
            return
        self._closed = True
        self._reactor.removeReader(self)
        if self._baton.acquire(blocking=False):
            self._close_files()
        else:
            # Not connected any more? That wakes it as well.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """In a child process: close our copies of the descriptors."""
        self._closed = True
        self._close_files()

    def _close_files(self) -> None:
        self._watch.close()
        self._socket.close()


def reading(transport: Any, reactor: Any) -> Reading | None:
    """Return the reading end of `transport`, if threads can lead there."""
    below = bottom(transport)
    decrypt = None if below is transport else getattr(transport, "decrypt", None)
    if below is not transport and decrypt is None:
        return None
    handle = getattr(below, "getHandle", lambda: None)()
    if not isinstance(handle, socket.socket) or not hasattr(select, "epoll"):
        return None
    # A thread that leads would block all greenlets.
    return None if greenlets.are_threads() else Reading(below, handle, reactor, decrypt)
