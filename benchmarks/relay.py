"""A line with a given length: ``python -m benchmarks.relay HOST PORT SECONDS LANES``.

It stands between clients and a daemon, and holds back what either of them sends, for SECONDS (half
of a round trip), in order. It does not limit how much is under way. It listens at LANES ports of
this host, so that one can tell clients apart, and prints these addresses as JSON on one line. For
each byte on its standard input it prints one line of JSON: what it has counted so far. The end of
the standard input ends it.

A timer of the kernel is late by 50 to 100 µs, and often by more in a virtual machine. So the
process sleeps until shortly before the time, and then looks at the clock again and again. That
takes up to one processor while anything is under way.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from statistics import mean, median
from typing import Any

__all__ = ["Connection", "Counts", "Messages"]

#: How long before the time (seconds) it ceases to sleep.
_SPIN = 200e-6

#: How much is read at a time.
_PIECE = 2**20

#: How much of one direction is held at most; 5 ms of 10 GB/s are less.
_MOST_HELD = 64 * 2**20

#: How many of the last deliveries the lateness is taken from.
_KEPT = 100_000

_LENGTH = struct.Struct(">I")


class Messages:
    """Counts the messages of a stream in which each has its length before it (4 bytes)."""

    def __init__(self) -> None:
        self.count = 0
        self._header = b""
        self._missing = 0

    def feed(self, data: bytes) -> None:
        offset = 0
        while offset < len(data):
            if self._missing:
                step = min(self._missing, len(data) - offset)
                self._missing -= step
                offset += step
            else:
                part = data[offset : offset + _LENGTH.size - len(self._header)]
                self._header += part
                offset += len(part)
                if len(self._header) < _LENGTH.size:
                    return
                (self._missing,) = _LENGTH.unpack(self._header)
                self._header = b""
            self.count += not self._missing


@dataclass
class Counts:
    """What a connection has carried.

    :ivar lane: the index of the port that it came to.
    :ivar round_trips: the longest chain of messages in which the client sent each one after it had
        received something that the daemon sent after the one before.
    """

    lane: int
    sent_bytes: int = 0
    sent_messages: int = 0
    received_bytes: int = 0
    received_messages: int = 0
    round_trips: int = 0


class Connection:
    """The two directions between a client and the daemon; each has a clock that counts round trips.

    What the client sends is one round trip later than what it has received so far. What the daemon
    sends is as late as what that has received so far.
    """

    def __init__(self, lane: int, client: socket.socket, daemon: socket.socket) -> None:
        self.up = Way(client, daemon)
        self.down = Way(daemon, client)
        self._lane = lane

    def stamp(self, way: Way) -> int:
        """Return the time, in round trips, of what the source of `way` sends now."""
        return self.down.delivered + 1 if way is self.up else self.up.delivered

    def counts(self) -> Counts:
        up, down = self.up, self.down
        return Counts(
            self._lane,
            up.bytes,
            up.messages.count,
            down.bytes,
            down.messages.count,
            down.delivered,
        )


@dataclass(eq=False)
class Way:
    """One direction.

    :ivar held: how many bytes were read and not written yet.
    :ivar delivered: the latest stamp, in round trips, of what was written.
    :ivar unwritten: what is due, but the target does not take it at present.
    :ivar is_open: the source has not ended yet.
    :ivar is_ended: the end was passed on.
    """

    source: socket.socket
    target: socket.socket
    bytes: int = 0
    messages: Messages = field(default_factory=Messages)
    held: int = 0
    delivered: int = 0
    unwritten: deque[bytes] = field(default_factory=deque)
    is_open: bool = True
    is_ended: bool = False


class Relay:
    """Delays by `delay` seconds what passes between clients and the daemon at `address`."""

    def __init__(self, address: tuple[str, int], delay: float, lanes: int) -> None:
        self._address = address
        self._delay = delay
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._masks: dict[int, int] = {}
        # What is under way, in all directions: as all of it takes the same time, it is due in the
        # order in which it came. The end of a stream is an empty string.
        self._under_way: deque[tuple[float, Connection, Way, int, bytes]] = deque()
        self._connections: list[Connection] = []
        self._lateness: deque[float] = deque(maxlen=_KEPT)
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(lanes)]
        for lane, listener in enumerate(self._listeners):
            self._watch(listener.fileno(), select.EPOLLIN, lambda _, lane=lane: self._accept(lane))

    @property
    def addresses(self) -> list[tuple[str, int]]:
        return [listener.getsockname() for listener in self._listeners]

    def run(self, control: int) -> None:
        """Serve, and report for each byte that can be read from `control`, until its end."""
        self._watch(control, select.EPOLLIN, lambda _: None)
        while True:
            for fd, mask in self._wait():
                if fd == control:
                    if not os.read(control, 1):
                        return
                    print(json.dumps(self._report()), flush=True)
                elif handler := self._handlers.get(fd):
                    handler(mask)
            now = time.perf_counter()
            while self._under_way and self._under_way[0][0] <= now:
                due, connection, way, stamp, data = self._under_way.popleft()
                self._lateness.append(now - due)
                self._deliver(connection, way, stamp, data)
                now = time.perf_counter()

    def _wait(self) -> list[tuple[int, int]]:
        """Wait for something to come, or for about the time at which something is due."""
        if not self._under_way:
            return self._epoll.poll()
        left = self._under_way[0][0] - time.perf_counter() - _SPIN
        if left > 0:
            # `epoll` counts in milliseconds; `select` does not, and one can select an `epoll`.
            select.select([self._epoll], [], [], left)
        return self._epoll.poll(0)

    def _report(self) -> dict[str, Any]:
        late = sorted(self._lateness) or [0.0]
        return {
            "connections": [asdict(connection.counts()) for connection in self._connections],
            "late": {
                "mean": mean(late),
                "median": median(late),
                "p99": late[int(len(late) * 0.99)],
                "most": late[-1],
            },
            "cpu": time.process_time(),
        }

    def _accept(self, lane: int) -> None:
        client, _ = self._listeners[lane].accept()
        try:
            daemon = socket.create_connection(self._address)
        except OSError:
            client.close()
            return
        connection = Connection(lane, client, daemon)
        self._connections.append(connection)
        for way, back in ((connection.up, connection.down), (connection.down, connection.up)):
            way.source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            way.source.setblocking(False)
            self._watch(
                way.source.fileno(),
                select.EPOLLIN,
                lambda mask, way=way, back=back: self._ready(connection, way, back, mask),
            )

    def _ready(self, connection: Connection, way: Way, back: Way, mask: int) -> None:
        """The socket that `way` comes from, and `back` goes to, can be read or written."""
        if mask & select.EPOLLOUT:
            self._write(way=back)
        if mask & ~select.EPOLLOUT and way.is_open:
            self._read(connection, way)
        self._adjust(connection)

    def _read(self, connection: Connection, way: Way) -> None:
        try:
            data = way.source.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # a reset is passed on as an end
        way.is_open = bool(data)
        way.bytes += len(data)
        way.held += len(data)
        way.messages.feed(data)
        due = time.perf_counter() + self._delay
        self._under_way.append((due, connection, way, connection.stamp(way), data))

    def _deliver(self, connection: Connection, way: Way, stamp: int, data: bytes) -> None:
        way.delivered = max(way.delivered, stamp)
        way.unwritten.append(data)
        self._write(way)
        self._adjust(connection)

    def _write(self, way: Way) -> None:
        while way.unwritten:
            data = way.unwritten.popleft()
            try:
                if not data:
                    way.is_ended = True
                    way.target.shutdown(socket.SHUT_WR)
                    return
                sent = way.target.send(data)
            except BlockingIOError:
                way.unwritten.appendleft(data)
                return
            except OSError:
                # Nobody takes it any more; the end comes by the other direction.
                way.held = 0
                way.unwritten.clear()
                return
            way.held -= sent
            if sent < len(data):
                way.unwritten.appendleft(data[sent:])

    def _adjust(self, connection: Connection) -> None:
        """Wait for what can go on, and close what is over."""
        up, down = connection.up, connection.down
        if up.is_ended and down.is_ended:
            for way in (up, down):
                self._forget(way.source.fileno())
                way.source.close()
            return
        for way, back in ((up, down), (down, up)):
            mask = select.EPOLLIN if way.is_open and way.held < _MOST_HELD else 0
            self._change(way.source.fileno(), mask | (select.EPOLLOUT if back.unwritten else 0))

    def _watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        self._handlers[fd] = handler
        self._masks[fd] = mask
        self._epoll.register(fd, mask)

    def _change(self, fd: int, mask: int) -> None:
        known = self._masks.get(fd)
        if known == mask or fd < 0:
            return
        self._masks[fd] = mask
        # An epoll tells of a hang-up whether one asks or not; what is not watched must be out.
        if not mask:
            self._epoll.unregister(fd)
        elif not known:
            self._epoll.register(fd, mask)
        else:
            self._epoll.modify(fd, mask)

    def _forget(self, fd: int) -> None:
        if self._masks.pop(fd, 0):
            self._epoll.unregister(fd)
        self._handlers.pop(fd, None)


def main() -> None:
    host, port, delay, lanes = sys.argv[1:]
    # The slack is 50 µs by default. Where it cannot be set, more of the time is spent spinning.
    with suppress(OSError), open("/proc/self/timerslack_ns", "w") as slack:
        slack.write("1000")
    relay = Relay((host, int(port)), float(delay), int(lanes))
    print(json.dumps(relay.addresses), flush=True)
    relay.run(0)


if __name__ == "__main__":
    main()
