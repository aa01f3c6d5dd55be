"""The outbox keeps the order of frames, whoever sends them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import StringTransport

from zeotwisted.client.outbox import Outbox
from zeotwisted.reactorthread import ReactorThread
from zeotwisted.transports import direct_sender


class Wire:
    """A transport and a way past it that take as much as a test lets them."""

    def __init__(self) -> None:
        self.sent = b""
        self.room = 0
        self._buffer = b""
        self._producer: Any = None
        self.calls: list[Callable[[], None]] = []
        self.aborted = False

    # the way past the transport
    def send(self, data: bytes) -> int:
        assert not self._buffer, "it overtakes what the transport has"
        taken = data[: self.room]
        self.sent += taken
        self.room -= len(taken)
        return len(taken)

    def close(self) -> None:
        pass

    # the transport
    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self._producer is None and not streaming
        self._producer = producer
        producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def writeSequence(self, frames: list[bytes]) -> None:
        self._buffer += b"".join(frames)

    def abortConnection(self) -> None:
        self.aborted = True

    # the reactor
    def work(self) -> None:
        """Let the reactor do what it has been asked for, and the transport what it can."""
        while self.calls:
            self.calls.pop(0)()
        while self._buffer and self.room:
            taken = self._buffer[: self.room]
            self.sent += taken
            self.room -= len(taken)
            self._buffer = self._buffer[len(taken) :]
            if not self._buffer and self._producer is not None:
                self._producer.resumeProducing()

    def outbox(self) -> Outbox:
        return Outbox(self, self, self.calls.append, lambda: False)  # type: ignore[arg-type]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(min_size=1, max_size=20), st.booleans()),
        st.tuples(st.just("room"), st.integers(0, 30)),
        st.tuples(st.just("work")),
    )
)


@given(steps=steps)
def test_order(steps: list[tuple[Any, ...]]) -> None:
    wire = Wire()
    outbox = wire.outbox()
    expected = b""
    for step, *args in steps:
        if step == "append":
            outbox.append(*args)
            expected += args[0]
        elif step == "room":
            wire.room += args[0]
        else:
            wire.work()
        assert expected.startswith(wire.sent)
    outbox.append(b"!")
    wire.room = 10**6
    for _ in range(3):
        wire.work()
    assert wire.sent == expected + b"!"


def test_calling_thread_sends_if_it_can() -> None:
    wire = Wire()
    wire.room = 100
    outbox = wire.outbox()
    outbox.append(b"held ", hold_back=True)
    assert wire.sent == b""
    outbox.append(b"and sent")
    assert wire.sent == b"held and sent"
    assert wire.calls == [], "the reactor was not needed"


def test_interrupt_breaks_the_connection() -> None:
    """Half a message may have been sent: nothing may follow it."""

    class Interrupted(Wire):
        def send(self, data: bytes) -> int:
            raise KeyboardInterrupt

    wire = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        wire.outbox().append(b"frame")
    wire.work()
    assert wire.aborted


def test_transport_that_is_no_socket() -> None:
    transport = StringTransport()
    assert direct_sender(transport) is None
    outbox = Outbox(transport, None, lambda function: function(), lambda: True)
    outbox.append(b"one ", hold_back=True)
    outbox.append(b"two")
    assert transport.value() == b"one two"


def test_many_threads_and_a_slow_reader() -> None:
    """Real sockets: each thread's frames arrive whole and in its order."""
    thread = ReactorThread("test")
    thread.start()
    ours, theirs = socket.socketpair()
    theirs.setblocking(True)
    made: list[Outbox] = []
    ready = threading.Event()

    class Client(Protocol):
        def connectionMade(self) -> None:
            made.append(
                Outbox(
                    self.transport,
                    direct_sender(self.transport),
                    thread.reactor.callFromThread,
                    thread.is_current,
                )
            )
            ready.set()

        def connectionLost(self, reason: Any = None) -> None:
            made[0].close()

    ours.setblocking(False)
    thread.reactor.callFromThread(
        thread.reactor.adoptStreamConnection,
        ours.fileno(),
        socket.AF_UNIX,
        Factory.forProtocol(Client),
    )
    assert ready.wait(10)
    ours.close()

    def fill(number: int) -> None:
        for count in range(2000):
            made[0].append(b"%d:%06d;" % (number, count) + b"x" * (count % 700) + b"\n")

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    seen = [0] * 4
    with theirs.makefile("rb") as stream:
        for _ in range(8000):
            line = stream.readline()
            head, _, rest = line.partition(b";")
            number, count = map(int, head.split(b":"))
            assert count == seen[number]
            assert rest == b"x" * (count % 700) + b"\n"
            seen[number] += 1
    for each in threads:
        each.join()
    theirs.close()
    thread.stop()
