"""The outbox keeps the order of frames, whoever sends them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.python.failure import Failure

from tests.clientstorage.support import InThread, wait_until
from zeotwisted.clientstorage.calls.outbox import Outbox
from zeotwisted.reactor.thread import ReactorThread
from zeotwisted.transport.sockets import direct_sender, sender


class Wire:
    """A transport and a way past it that take as much as a test lets them."""

    def __init__(self, is_socket: bool = True) -> None:
        self.sent = b""
        self.room = 0
        self._is_socket = is_socket
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

    def send_waiting(self, pieces: list[bytes]) -> bytes:
        data = b"".join(pieces)
        return data[self.send(data) :]

    def close(self) -> None:
        pass

    # the transport
    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert self._producer is None and streaming is not self._is_socket
        self._producer = producer
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def writeSequence(self, frames: list[bytes]) -> None:
        self._buffer += b"".join(frames)
        if not self._is_socket:
            self._producer.pauseProducing()

    @property
    def buffered(self) -> int:
        """How much the transport has been given that it has not sent."""
        return len(self._buffer)

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
        direct: Any = self if self._is_socket else None
        return Outbox(self, direct, self.calls.append, lambda: False)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(min_size=1, max_size=20), st.booleans()),
        # A frame is never empty, as its length comes first.
        st.tuples(st.just("append_long"), st.lists(st.binary(min_size=1, max_size=20), min_size=1)),
        st.tuples(st.just("room"), st.integers(0, 30)),
        st.tuples(st.just("work")),
    )
)


@given(steps=steps, is_socket=st.booleans())
def test_order(steps: list[tuple[Any, ...]], is_socket: bool) -> None:
    wire = Wire(is_socket)
    outbox = wire.outbox()
    expected = b""
    for step, *args in steps:
        if step == "append":
            outbox.append(*args)
            expected += args[0]
        elif step == "append_long":
            outbox.append_long(*args)
            expected += b"".join(args[0])
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
    outbox = wire.outbox()
    with pytest.raises(KeyboardInterrupt):
        outbox.append(b"frame")
    outbox.append(b"another")
    wire.work()
    assert wire.aborted
    assert not wire.sent and not wire.buffered


class Waiting(Wire):
    """A socket that has to be waited for, at each frame, until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.shut = self.closed = False

    def send_waiting(self, pieces: list[bytes]) -> bytes:
        assert not self.closed
        self.reached.release()
        assert self.go_on.acquire(timeout=10)
        assert not self.closed
        if self.shut:
            return b"".join(pieces)
        self.sent += b"".join(pieces)
        return b""

    def send(self, data: bytes) -> int:
        raise AssertionError("it would be in the midst of the long frame")

    def shut_down(self) -> None:
        self.shut = True

    def close(self) -> None:
        self.closed = True


def test_what_is_added_to_a_long_frame_follows_it() -> None:
    wire = Waiting()
    outbox = wire.outbox()
    outbox.append(b"before ", hold_back=True)
    sending = InThread(outbox.append_long, [b"a long ", b"frame "])
    assert wire.reached.acquire(timeout=10)
    assert outbox.waits and not outbox.full
    outbox.append(b"by others ")
    outbox.append_long([b"and ", b"more "])
    assert wire.sent == b"" and wire.calls == []
    wire.go_on.release()
    assert wire.reached.acquire(timeout=10)
    outbox.append(b"and more")
    wire.go_on.release(2)
    sending.result()
    assert wire.sent == b"before a long frame by others and more and more"
    assert wire.calls == [] and not outbox.waits


def test_nobody_closes_a_socket_that_a_thread_sends_to() -> None:
    """Its number may be another file's right afterwards."""
    wire = Waiting()
    outbox = wire.outbox()
    sending = InThread(outbox.append_long, [b"frame"])
    assert wire.reached.acquire(timeout=10)
    outbox.close()
    assert wire.shut and not wire.closed
    wire.go_on.release()
    sending.result()
    assert wire.closed and wire.sent == b""
    wire.work()
    assert wire.sent == b""


def test_a_child_leaves_the_connection_to_its_parent() -> None:
    wire = Waiting()
    outbox = wire.outbox()
    sending = InThread(outbox.append_long, [b"frame"])
    assert wire.reached.acquire(timeout=10)
    outbox.abandon()
    assert not wire.shut and wire.closed
    # There is no such thread in a child; here there is.
    wire.closed = False
    wire.go_on.release()
    sending.result()


def test_trouble_with_a_long_frame_is_left_to_the_reactor() -> None:
    wire = Waiting()
    outbox = wire.outbox()
    sending = InThread(outbox.append_long, [b"long ", b"frame "])
    assert wire.reached.acquire(timeout=10)
    outbox.append(b"behind it")
    wire.shut = True
    wire.go_on.release()
    sending.result()
    wire.room = 100
    wire.work()
    assert wire.sent == b"long frame behind it"


def test_interrupt_of_a_long_frame_breaks_the_connection() -> None:
    class Interrupted(Wire):
        def send_waiting(self, pieces: list[bytes]) -> bytes:
            raise KeyboardInterrupt

    wire = Interrupted()
    outbox = wire.outbox()
    with pytest.raises(KeyboardInterrupt):
        outbox.append_long([b"frame"])
    outbox.append(b"nothing may follow half a frame")
    wire.work()
    assert wire.aborted and wire.sent == b""


def test_transport_that_is_no_socket() -> None:
    transport = StringTransport()
    assert direct_sender(transport) is None
    outbox = Outbox(transport, None, lambda function: function(), lambda: True)
    outbox.append(b"one ", hold_back=True)
    outbox.append(b"two")
    assert transport.value() == b"one two"


FRAME = b"x" * 65536
MB = 1024 * 1024


def fill(outbox: Outbox, count: int) -> None:
    for number in range(count):
        outbox.wait_for_room()
        outbox.append(b"%08d" % number + FRAME)


@pytest.mark.parametrize("is_socket", [True, False])
def test_who_fills_it_waits_for_the_reader(is_socket: bool) -> None:
    wire = Wire(is_socket)
    outbox = wire.outbox()
    filling = InThread(fill, outbox, 200)
    most = 0
    while filling.is_running:
        wait_until(
            "it is full",
            lambda: "wait_for_room" in filling.stack or not filling.is_running or wire.calls,
        )
        wire.work()
        most = max(most, wire.buffered + outbox._size)
        wire.room += MB
    filling.result()
    wire.room = 10**9
    wire.work()
    assert wire.sent == b"".join(b"%08d" % number + FRAME for number in range(200))
    assert most < 5 * MB


def test_nobody_waits_for_a_connection_that_is_lost() -> None:
    outbox = Wire().outbox()
    filling = InThread(fill, outbox, 200)
    wait_until("it is full", lambda: "wait_for_room" in filling.stack)
    outbox.close()
    filling.result()


@pytest.mark.parametrize("is_socket", [True, False])
def test_nothing_is_sent_after_the_end(is_socket: bool) -> None:
    """The reactor was asked to send before the connection was lost."""
    wire = Wire(is_socket)
    outbox = wire.outbox()
    outbox.append(b"frame")
    assert wire.calls
    outbox.close()
    wire.room = 100
    wire.work()
    assert not wire.sent and not wire.buffered


def test_sending_at_once_when_the_connection_is_lost() -> None:
    ours, theirs = socket.socketpair()
    transport = Connection(ours, Protocol(), MemoryReactor())
    transport.connected = 1
    send = sender(transport)
    transport.write(b"data")
    send()
    assert theirs.recv(10) == b"data"
    transport.write(b"more")
    transport.connectionLost(Failure(ConnectionLost()))
    send()
    theirs.close()


def test_the_reactor_does_not_wait_for_itself() -> None:
    wire = Wire(is_socket=False)
    outbox = Outbox(wire, None, lambda function: function(), lambda: True)
    fill(outbox, 200)
    wire.room = 10**9
    wire.work()
    assert len(wire.sent) == 200 * (8 + len(FRAME))


LONG = b"x" * MB


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
            head = b"%d:%06d;" % (number, count)
            if count % 100 == number:
                made[0].append_long([head, LONG, b"\n"])
            else:
                made[0].append(head + b"x" * (count % 700) + b"\n")

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
            assert rest == (LONG if count % 100 == number else b"x" * (count % 700)) + b"\n"
            seen[number] += 1
    for each in threads:
        each.join()
    theirs.close()
    thread.stop()
