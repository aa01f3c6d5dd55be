"""Lets the reactor, or a thread that waits for an answer, read from the socket.

Waking another thread is the most expensive part of a call. So a thread that waits for an answer
reads it itself, unless another thread is reading: it *leads*. Other threads that wait *follow*: the
thread that reads their answers, or the reactor, wakes them.

The socket has an epoll of its own, and the reactor watches that epoll. A thread that leads disables
the socket there, so that the reactor does not wake for the thread's data.
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

    Leading threads call the methods up to `end`; those from `fileno` on belong to the reactor's
    thread.

    :param transport: the transport of a socket. It still sends and closes, but reads only in
        `doRead`.
    :param handle: the socket.
    :param reactor: the transport's.
    :param decrypt: decrypts received bytes; None without TLS.
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
        # Held by the thread that reads. Once this is closed, it is never released.
        self._baton = threading.Lock()
        self._closed = False
        transport.pauseProducing()
        reactor.addReader(self)

    # A thread that leads.

    def begin(self) -> bool:
        """Begin to read; return False if another thread is reading."""
        if not self._baton.acquire(blocking=False):
            return False
        self._watch.modify(self._socket, 0)
        return True

    def wait(self) -> bool:
        """Wait until the socket is readable; return whether there is data.

        False means that the connection has ended or failed. The reactor has to find out why.
        """
        return self._ready.poll() == self._data_only

    def receive(self) -> bytes:
        """Return the received bytes. They are empty after an error, or if TLS needs more data."""
        try:
            data = self._socket.recv(self._amount.size)
        except OSError:
            return b""
        self._amount.received(len(data))
        return data if self._decrypt is None else self._decrypt(data)

    def end(self) -> None:
        """Let other threads and the reactor read again, after a successful `begin`."""
        self._watch.modify(self._socket, select.EPOLLIN)
        self._release()

    def _release(self) -> None:
        self._baton.release()
        # `close` could not take the lock, so it left the files to this thread.
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
        # The reactor may have been woken just before a thread began to lead.
        if not self._baton.acquire(blocking=False):
            return None
        try:
            return self._transport.doRead()
        finally:
            self._release()

    def connectionLost(self, reason: Failure) -> None:
        """See `IFileDescriptor`: pass the failure of `doRead` to the transport."""
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
            # OSError: the socket is not connected any more, which wakes the thread as well.
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """After fork: close the child's copies of the descriptors."""
        self._closed = True
        self._close_files()

    def _close_files(self) -> None:
        self._watch.close()
        self._socket.close()


def reading(transport: Any, reactor: Any) -> Reading | None:
    """Return the reading end of `transport`; None if threads cannot lead there."""
    below = bottom(transport)
    decrypt = None if below is transport else getattr(transport, "decrypt", None)
    if below is not transport and decrypt is None:
        return None
    handle = getattr(below, "getHandle", lambda: None)()
    if not isinstance(handle, socket.socket) or not hasattr(select, "epoll"):
        return None
    # With gevent, a thread that leads would block all greenlets.
    return None if greenlets.are_threads() else Reading(below, handle, reactor, decrypt)
