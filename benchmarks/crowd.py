"""Many clients in one process: connections that register, and then hear of what others commit.

They are the same for every daemon, and do as little as they can, so that what is measured is the
daemon. They speak version 5.
"""

from __future__ import annotations

import errno
import selectors
import socket
import ssl
import struct
from collections.abc import Callable, Generator
from typing import Any

from .bare import codec, frame

__all__ = ["Crowd"]

_LENGTH = struct.Struct(">I")

#: How many connect at the same time: fewer than the shortest backlog of a listening socket.
_AT_ONCE = 50


class _Connection:
    """One client, as a generator that says what it waits for."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext | None) -> None:
        self._address = address
        self._context = context
        self._received = bytearray()
        self._decode: Callable[[bytes], Any] = bytes
        #: How many bytes have arrived.
        self.received = 0
        self.socket = socket.socket()
        self.socket.setblocking(False)

    def register(self) -> Generator[int, None, None]:
        """Connect and register; yield the events to wait for."""
        error = self.socket.connect_ex(self._address)
        if error == errno.EINPROGRESS:
            yield selectors.EVENT_WRITE
            error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, errno.errorcode[error])
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            yield from self._begin_tls(self._context)
        while not (frames := self.frames()):
            yield selectors.EVENT_READ
        answer, chosen = codec(frames[0])
        self._decode = chosen.loads
        call = chosen.dumps((1, 0, "register", ("1", False)))
        self.socket.send(frame(answer) + frame(call))
        while not self._is_registered():
            yield selectors.EVENT_READ

    def _begin_tls(self, context: ssl.SSLContext) -> Generator[int, None, None]:
        self.socket = context.wrap_socket(
            self.socket, server_hostname=self._address[0], do_handshake_on_connect=False
        )
        while True:
            try:
                self.socket.do_handshake()  # type: ignore[attr-defined]
                return
            except ssl.SSLWantReadError:
                yield selectors.EVENT_READ
            except ssl.SSLWantWriteError:
                yield selectors.EVENT_WRITE

    def _is_registered(self) -> bool:
        for message_id, flag, _, answer in map(self._decode, self.frames()):
            if message_id == 1:
                if flag:
                    raise RuntimeError(f"register: {answer!r}")
                return True
        return False

    def invalidations(self) -> list[bytes]:
        """Return the tids of the transactions that it has been told of by now."""
        messages = map(self._decode, self.frames())
        return [args[0] for _, _, name, args in messages if name == "invalidateTransaction"]

    def frames(self) -> list[bytes]:
        """Read what there is; return what is complete."""
        while True:
            try:
                data = self.socket.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            if not data:
                raise ConnectionError("the daemon closed the connection")
            self._received += data
            self.received += len(data)
            if self._context is None and len(data) < 65536:
                break
        frames = []
        while len(self._received) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
            if len(self._received) < end:
                break
            frames.append(bytes(self._received[_LENGTH.size : end]))
            del self._received[:end]
        return frames


class Crowd:
    """Many registered connections."""

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext | None) -> None:
        self._address = address
        self._context = context
        self._selector = selectors.DefaultSelector()
        self._members: list[_Connection] = []

    def connect(self, count: int) -> None:
        """Connect and register so many more."""
        ended = len(self._members) + count
        starting: dict[_Connection, Generator[int, None, None]] = {}
        while len(self._members) < ended:
            while len(starting) < _AT_ONCE and len(self._members) + len(starting) < ended:
                connection = _Connection(self._address, self._context)
                starting[connection] = connection.register()
                self._go_on(connection, starting)
            for key, _ in self._selector.select() if starting else ():
                if key.data in starting:
                    self._go_on(key.data, starting)

    def _go_on(
        self, connection: _Connection, starting: dict[_Connection, Generator[int, None, None]]
    ) -> None:
        try:
            self._watch(connection, next(starting[connection]))
        except StopIteration:
            del starting[connection]
            self._watch(connection, selectors.EVENT_READ)
            self._members.append(connection)

    def _watch(self, connection: _Connection, events: int) -> None:
        # wrap_socket makes a new object that keeps the file descriptor.
        try:
            self._selector.modify(connection.socket, events, connection)
        except KeyError:
            self._selector.register(connection.socket, events, connection)

    @property
    def received(self) -> int:
        """How many bytes all of them have received so far."""
        return sum(member.received for member in self._members)

    def hear(self) -> bytes:
        """Return when all have been told of the next transaction, with its tid."""
        waiting = set(self._members)
        heard = set()
        while waiting:
            for key, _ in self._selector.select():
                tids = key.data.invalidations()
                heard.update(tids)
                if tids:
                    waiting.discard(key.data)
        (tid,) = heard
        return tid

    def close(self) -> None:
        self._selector.close()
        for connection in self._members:
            connection.socket.close()
