"""Extends Twisted's transports: sends without waiting for the reactor, and sets TCP options."""

from __future__ import annotations

import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from twisted.internet.interfaces import ITCPTransport, IUNIXTransport, IWriteDescriptor

__all__ = [
    "DirectSender",
    "DirectWriter",
    "bottom",
    "direct_sender",
    "sender",
    "set_tcp_options",
    "unsent",
]

#: macOS calls it TCP_KEEPALIVE.
_TCP_KEEPIDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))

#: The largest number of seconds that Linux accepts for some TCP options.
_LONGEST = 32767.0

#: Only messages up to this length (bytes) are sent directly. Longer ones do not fit into a socket's
#: buffer, and the rest of the message would have to be copied.
_SMALL = 65536

#: The size of a read, in bytes: usually, and while much data arrives.
SMALL_READ = 65536
LARGE_READ = 2**18
#: A read of at least this size (bytes) is "much data". It is less than SMALL_READ, because data is
#: shorter after decryption.
_MUCH = 2**15

#: How many pieces to pass to one system call. Systems have a limit, of 1024 or less.
_MOST_PIECES = 16


def bottom(transport: Any) -> Any:
    """Return the lowest transport, which has the socket; a TLS transport, for example, is above."""
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    return transport


def set_tcp_options(transport: Any, timeout: float) -> None:
    """Set the options of a TCP connection: no delay and keep-alive. Ignore other transports.

    :param timeout: after how many seconds the operating system closes a connection to a host that
        does not respond, if the platform has options for that. 0 means the system's own limits,
        which are hours.
    """
    transport = bottom(transport)
    # Twisted's transports of Unix sockets inherit ITCPTransport.
    if not ITCPTransport.providedBy(transport) or IUNIXTransport.providedBy(transport):
        return
    tcp: Any = transport
    # Messages are small, and the other end waits for each of them.
    tcp.setTcpNoDelay(True)
    tcp.setTcpKeepAlive(True)
    handle = tcp.getHandle()
    if not timeout or not isinstance(handle, socket.socket):
        return
    timeout = min(timeout, _LONGEST)
    # The first probe is sent after half of the timeout. There are three probes, because packets may
    # be lost.
    options = (
        (_TCP_KEEPIDLE, max(1, int(timeout / 2))),
        (getattr(socket, "TCP_KEEPINTVL", None), max(1, int(timeout / 8))),
        (getattr(socket, "TCP_KEEPCNT", None), 3),
        (getattr(socket, "TCP_USER_TIMEOUT", None), max(1, int(timeout * 1000))),
    )
    for option, value in options:
        if option is not None:
            # An option that fails is no error: `liveness` also notices a dead peer.
            with suppress(OSError):
                handle.setsockopt(socket.IPPROTO_TCP, option, value)


class ReadSize:
    """Makes a transport use larger reads while much data arrives.

    This saves system calls for long messages. For short messages it would waste time, because each
    read allocates a buffer of the full size.

    :param transport: a transport without a socket does not change.
    :ivar size: the current size of a read, in bytes.
    """

    __slots__ = ("_below", "_large", "size")

    def __init__(self, transport: Any) -> None:
        below = bottom(transport)
        self._below = below if hasattr(below, "bufferSize") else None
        self._large = False
        self.size = SMALL_READ

    def received(self, size: int) -> None:
        """Adapt the size of reads; call it with the number of bytes that were received."""
        if (size >= _MUCH) is not self._large:
            self._large = not self._large
            self.size = LARGE_READ if self._large else SMALL_READ
            if self._below is not None:
                self._below.bufferSize = self.size


def unsent(transport: Any) -> tuple[int, int]:
    """Return a value that changes when the socket accepts some of the data that waits for it."""
    below = bottom(transport)
    return len(getattr(below, "dataBuffer", b"")), getattr(below, "offset", 0)


def sender(transport: Any) -> Callable[[], None]:
    """Return a function that immediately sends the data that was written to `transport`.

    Without it, Twisted's transports send only after the reactor has found that the socket is
    writable. It usually is, and the peer waits for the message. The reactor sends the data that
    the socket does not accept, and handles any error. For a transport without a socket, the
    function does nothing.

    The function must be called in the reactor's thread.
    """
    below = bottom(transport)
    if not IWriteDescriptor.providedBy(below):
        return _nothing
    descriptor: Any = below

    def send() -> None:
        # While the transport closes, only the reactor may call doWrite(): the result of that call
        # ends the connection. A closed transport has no socket.
        if descriptor.connected and not descriptor.disconnecting:
            descriptor.doWrite()

    return send


def _nothing() -> None:
    """Do nothing, because the transport sends without help."""


class DirectWriter:
    """Writes to a transport, in the reactor's thread, and sends immediately if possible.

    The transport's own `write` buffers the data until the reactor finds that the socket is
    writable. That costs two more system calls for each message. Here the transport gets only the
    data that the socket does not accept, and handles errors. Until it has sent that data, it also
    gets all further data, which keeps the order. If it is not a plain socket, it gets all data.

    No other code may write to the transport.
    """

    __slots__ = ("_socket", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._socket = _plain_socket(transport)

    def write(self, data: bytes) -> None:
        """Write `data`. The order of calls is kept."""
        transport = self._transport
        handle = self._socket
        # While the transport closes, only the reactor may call doWrite(): the result of that call
        # ends the connection.
        if handle is None or transport.dataBuffer or transport.disconnecting:
            transport.write(data)
            return
        sent = 0
        if len(data) <= _SMALL:
            try:
                sent = handle.send(data)
            except OSError:
                # The buffer is full, or the connection is broken. The reactor handles both.
                sent = 0
        if sent < len(data):
            transport.write(data[sent:])
            # doWrite() moves the data to dataBuffer, which the next call checks. Without that, the
            # next call would send its data first. A closed transport has no socket.
            if transport.connected:
                transport.doWrite()


def _plain_socket(transport: Any) -> socket.socket | None:
    """Return the socket if `transport` writes directly to one, otherwise None."""
    if bottom(transport) is not transport or not IWriteDescriptor.providedBy(transport):
        return None
    handle = getattr(transport, "getHandle", lambda: None)()
    return handle if isinstance(handle, socket.socket) else None


class DirectSender:
    """Sends to a transport's socket, in any thread. The caller must keep the order of messages.

    It uses a duplicate of the file descriptor. The transport may close its own descriptor at any
    moment, and the system may reuse the number, so the data would go to another file.
    """

    def __init__(self, handle: socket.socket) -> None:
        self._socket = handle.dup()
        #: How many bytes `send_waiting` has sent so far.
        self.sent = 0
        # The duplicate shares this flag with the transport's socket, which is non-blocking too.
        self._socket.setblocking(False)

    def send(self, data: bytes) -> int:
        """Return how many bytes of `data` were sent; 0 after any error."""
        try:
            return self._socket.send(data)
        except OSError:
            # The buffer is full, or the connection is broken. The reactor handles both.
            return 0

    def send_waiting(self, pieces: Sequence[bytes]) -> bytes:
        """Send `pieces`, and block until the socket accepts all of them.

        Return ``b""``, or the rest of the data after an error.
        """
        waiting = deque(memoryview(piece) for piece in pieces if piece)
        try:
            while waiting:
                sent = self._send_some(list(islice(waiting, _MOST_PIECES)))
                self.sent += sent
                while sent:
                    piece = waiting.popleft()
                    if sent < len(piece):
                        waiting.appendleft(piece[sent:])
                    sent -= min(sent, len(piece))
        except OSError:
            # The connection is broken. The reactor handles that.
            pass
        return b"".join(waiting)

    def _send_some(self, pieces: list[memoryview]) -> int:
        while True:
            try:
                return self._socket.sendmsg(pieces)
            except BlockingIOError:
                self._wait_for_socket()

    def _wait_for_socket(self) -> None:
        ready = select.poll()
        ready.register(self._socket, select.POLLOUT)
        ready.poll()

    def shut_down(self) -> None:
        """End the connection, which wakes a thread that waits in `send_waiting`."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the descriptor. No other thread may be sending."""
        self._socket.close()


class EncryptingSender:
    """Does the same as a `DirectSender` for a connection with TLS.

    :param encrypt: see `tls.TLSTransport.encrypt`.
    """

    def __init__(self, encrypt: Callable[..., int], direct: DirectSender) -> None:
        self._encrypt = encrypt
        self._direct = direct
        self.sent = 0

    def send(self, data: bytes) -> int:
        """Return how many bytes of `data` were encrypted; 0 if the reactor has to send `data`."""
        return self._encrypt(data, self._direct.send)

    def send_waiting(self, pieces: Sequence[bytes]) -> bytes:
        """Send as much of `pieces` as the socket accepts; return the rest."""
        waiting = deque(memoryview(piece) for piece in pieces if piece)
        while waiting:
            piece = waiting.popleft()
            sent = self._encrypt(piece, self._direct.send)
            self.sent += sent
            if sent < len(piece):
                waiting.appendleft(piece[sent:])
            if not sent:
                break
        return b"".join(waiting)

    def shut_down(self) -> None:
        """End the connection."""
        self._direct.shut_down()

    def close(self) -> None:
        """Close the descriptor."""
        self._direct.close()


def direct_sender(transport: Any) -> DirectSender | EncryptingSender | None:
    """Return a sender for the socket of `transport`, or None.

    There is one if `transport` is a plain socket, or a `tls.TLSTransport` on a plain socket.
    """
    below = bottom(transport)
    handle = _plain_socket(below)
    if handle is None:
        return None
    if below is transport:
        return DirectSender(handle)
    encrypt = getattr(transport, "encrypt", None)
    return None if encrypt is None else EncryptingSender(encrypt, DirectSender(handle))
