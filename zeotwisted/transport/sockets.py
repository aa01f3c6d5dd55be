"""What Twisted's transports do not offer: to send without a detour, and to notice dead peers."""

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

#: macOS has another name for it.
_TCP_KEEPIDLE = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))

#: Linux takes no more seconds than that for some of its options; it is as good as for ever.
_LONGEST = 32767.0

#: What fits into a socket's buffer, in bytes. The rest of anything longer would have to be copied.
_SMALL = 65536

#: How much (bytes) to read at a time, usually and when much comes; and how much is much. It is less
#: than what is read usually, as TLS needs some of it.
SMALL_READ = 65536
LARGE_READ = 2**18
_MUCH = 2**15

#: How many pieces to send at a time; systems have limits, of 1024 or less.
_MOST_PIECES = 16


def bottom(transport: Any) -> Any:
    """Return the transport that has the socket; others, such as TLS, are stacked on it."""
    while (below := getattr(transport, "transport", None)) is not None:
        transport = below
    return transport


def set_tcp_options(transport: Any, timeout: float) -> None:
    """Tune a TCP connection for messages, and have the operating system look for dead hosts.

    :param timeout: after how many seconds to give up a host from which nothing comes, or that does
        not take what it is sent; 0 for the system's own limits, which are hours. It is kept where
        the platform has the options for it. Other transports than TCP are left alone.
    """
    transport = bottom(transport)
    # Twisted's Unix sockets are TCP's by inheritance.
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
    # Asked when half of the time is over, and then as often as it can be lost without harm.
    options = (
        (_TCP_KEEPIDLE, max(1, int(timeout / 2))),
        (getattr(socket, "TCP_KEEPINTVL", None), max(1, int(timeout / 8))),
        (getattr(socket, "TCP_KEEPCNT", None), 3),
        (getattr(socket, "TCP_USER_TIMEOUT", None), max(1, int(timeout * 1000))),
    )
    for option, value in options:
        if option is not None:
            # The peer's silence is counted as well; the options are there to be sooner.
            with suppress(OSError):
                handle.setsockopt(socket.IPPROTO_TCP, option, value)


class ReadSize:
    """Has a transport read more at a time while much comes.

    Much less than half of the time that a long message takes is spent in the system then. For short
    ones it would be in vain: the memory is taken for each of them.

    :param transport: reads; those that are no sockets do as they like.
    :ivar size: how much (bytes) to read at a time now.
    """

    __slots__ = ("_below", "_large", "size")

    def __init__(self, transport: Any) -> None:
        below = bottom(transport)
        self._below = below if hasattr(below, "bufferSize") else None
        self._large = False
        self.size = SMALL_READ

    def received(self, size: int) -> None:
        """So many bytes were received."""
        if (size >= _MUCH) is not self._large:
            self._large = not self._large
            self.size = LARGE_READ if self._large else SMALL_READ
            if self._below is not None:
                self._below.bufferSize = self.size


def unsent(transport: Any) -> tuple[int, int]:
    """Return a value that changes when the socket takes some of what it could not take at once."""
    below = bottom(transport)
    return len(getattr(below, "dataBuffer", b"")), getattr(below, "offset", 0)


def sender(transport: Any) -> Callable[[], None]:
    """Return a function that sends at once what was written to `transport`.

    Twisted's transports wait for the reactor's next turn, to find out whether the socket takes
    anything. It usually does, and somebody waits for a message at the other end. What it does not
    take, and any error, is left to the reactor; transports that are no sockets send as they like.

    The function is to be called in the reactor's thread.
    """
    below = bottom(transport)
    if not IWriteDescriptor.providedBy(below):
        return _nothing
    descriptor: Any = below

    def send() -> None:
        # Once it is closing, only the reactor may find that all has been sent; and the thread
        # that sends may not know yet that it is closed.
        if descriptor.connected and not descriptor.disconnecting:
            descriptor.doWrite()

    return send


def _nothing() -> None:
    """The transport sends on its own."""


class DirectWriter:
    """Writes to a transport, in the reactor's thread, and sends at once what the socket takes.

    A transport would keep it, and ask the reactor to find out whether the socket takes anything:
    two system calls more for each message. What the socket does not take, and any error, is left
    to the transport; and until that has sent everything, all that follows goes the same way, behind
    it. Transports that are not plain sockets send as they like.

    No other code may write to the transport.
    """

    __slots__ = ("_socket", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._socket = _plain_socket(transport)

    def write(self, data: bytes) -> None:
        """Write `data`, in the order of the calls."""
        transport = self._transport
        handle = self._socket
        # Once it is closing, only the reactor may find that everything has been sent.
        if handle is None or transport.dataBuffer or transport.disconnecting:
            transport.write(data)
            return
        sent = 0
        if len(data) <= _SMALL:
            try:
                sent = handle.send(data)
            except OSError:
                # It is full, or broken, and the reactor will find out.
                sent = 0
        if sent < len(data):
            transport.write(data[sent:])
            # This also moves it to the buffer that tells that something waits. The thread that
            # sends may not know yet that it is closed.
            if transport.connected:
                transport.doWrite()


def _plain_socket(transport: Any) -> socket.socket | None:
    """Return the socket of a transport that has nothing between itself and the socket."""
    if bottom(transport) is not transport or not IWriteDescriptor.providedBy(transport):
        return None
    handle = getattr(transport, "getHandle", lambda: None)()
    return handle if isinstance(handle, socket.socket) else None


class DirectSender:
    """Sends past a transport, in any thread. The caller has to see to the order.

    It has a file descriptor of its own: the transport may close its own at any moment, and the
    number may be another file's when the operating system gets it.
    """

    def __init__(self, handle: socket.socket) -> None:
        self._socket = handle.dup()
        #: How many bytes `send_waiting` has sent so far.
        self.sent = 0
        # What is true of the transport's socket is true of its copy.
        self._socket.setblocking(False)

    def send(self, data: bytes) -> int:
        """Return how many bytes of `data` were sent; none if there is any trouble."""
        try:
            return self._socket.send(data)
        except OSError:
            # It is full, or broken, and the reactor will find out.
            return 0

    def send_waiting(self, pieces: Sequence[bytes]) -> bytes:
        """Send `pieces` as the socket takes them; return what is left if there is any trouble."""
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
            # It is broken, and the reactor will find out.
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
        """End the connection, so that a thread that sends finds out."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the descriptor; must not be called while another thread sends."""
        self._socket.close()


class EncryptingSender:
    """Does what a `DirectSender` does, where there is TLS.

    :param encrypt: see `tls.TLSTransport.encrypt`.
    """

    def __init__(self, encrypt: Callable[..., int], direct: DirectSender) -> None:
        self._encrypt = encrypt
        self._direct = direct
        self.sent = 0

    def send(self, data: bytes) -> int:
        """Return how many bytes of `data` are on their way; none if the reactor has to see."""
        return self._encrypt(data, self._direct.send)

    def send_waiting(self, pieces: Sequence[bytes]) -> bytes:
        """Send as much of `pieces` as the socket takes; return what is left."""
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
    """Return a way past `transport`, if there is a plain socket, or TLS of our own on one."""
    below = bottom(transport)
    handle = _plain_socket(below)
    if handle is None:
        return None
    if below is transport:
        return DirectSender(handle)
    encrypt = getattr(transport, "encrypt", None)
    return None if encrypt is None else EncryptingSender(encrypt, DirectSender(handle))
