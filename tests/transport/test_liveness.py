"""How silence is counted, and what the operating system is asked to look for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.internet.unix import Server as UNIXServer

from zeotwisted.transport.liveness import Liveness, Manners
from zeotwisted.transport.sockets import set_tcp_options, unsent


class Watch:
    """A watch over a peer that does what the test says.

    :ivar probes: when the peer was asked whether it is there.
    :ivar gone: when it was given up, and for how long it had been silent.
    """

    def __init__(self, manners: Manners, timeout: float = 60.0) -> None:
        self.clock = Clock()
        self.waiting = False
        self.taken = 0
        self.probes: list[float] = []
        self.gone: list[tuple[float, float]] = []
        self.liveness = Liveness(
            self.clock,
            timeout,
            manners,
            lambda: self.waiting,
            lambda: self.taken,
            lambda: self.probes.append(self.clock.seconds()),
            lambda silence: self.gone.append((self.clock.seconds(), silence)),
        )

    def pass_(self, seconds: float) -> None:
        self.clock.pump([0.25] * int(seconds * 4))

    def hear(self) -> None:
        self.liveness.silence.heard = True


@pytest.mark.parametrize("last_heard", [0.25, 2.5, 4.75])
@pytest.mark.parametrize("manners", Manners)
def test_idle_peer_is_given_up_in_time(manners: Manners, last_heard: float) -> None:
    watch = Watch(manners)
    watch.pass_(10 + last_heard)
    watch.hear()
    watch.pass_(60)
    ((when, silence),) = watch.gone
    assert 30 < silence <= when - 10 - last_heard <= 60
    # It was asked early enough to answer.
    assert [time for time in watch.probes if time > 15] == (
        [] if manners is Manners.RETICENT else [25]
    )
    assert watch.clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("manners", "least", "most"), [(Manners.PROMPT, 20, 30), (Manners.BUSY, 40, 50)]
)
@pytest.mark.parametrize("called", [1, 4, 9, 14])
def test_a_call_that_waits_notices_sooner(
    manners: Manners, least: float, most: float, called: float
) -> None:
    watch = Watch(manners)
    watch.pass_(20)
    watch.hear()
    watch.pass_(called)
    watch.waiting = True
    watch.pass_(60)
    ((when, _),) = watch.gone
    assert least <= when - 20 - called <= most


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("manners", Manners)
def test_whoever_says_something_now_and_then_is_there(manners: Manners, waiting: bool) -> None:
    watch = Watch(manners)
    watch.waiting = waiting
    for _ in range(20):
        # Less than each limit, and more than the probe is waited for.
        watch.pass_(24)
        watch.hear()
    assert watch.gone == []


def test_whoever_answers_is_there() -> None:
    watch = Watch(Manners.PROMPT)
    for number in range(20):
        while len(watch.probes) == number:
            watch.pass_(0.25)
        watch.pass_(5)
        watch.hear()
    assert watch.gone == []
    assert watch.clock.seconds() > 200


def test_whoever_takes_what_is_sent_is_there() -> None:
    """A large message over a slow line: nobody can answer before it has arrived."""
    watch = Watch(Manners.PROMPT)
    watch.waiting = True
    for _ in range(20):
        watch.pass_(20)
        watch.taken += 1
    assert watch.gone == []
    watch.pass_(30)
    assert watch.gone


@pytest.mark.parametrize("manners", Manners)
def test_time_that_this_process_spent_asleep_does_not_count(manners: Manners) -> None:
    watch = Watch(manners)
    watch.waiting = True
    watch.pass_(10)
    watch.clock.advance(10_000)
    watch.hear()
    watch.pass_(20)
    assert watch.gone == []


def test_end() -> None:
    watch = Watch(Manners.PROMPT)
    watch.pass_(7)
    watch.liveness.stop()
    watch.liveness.stop()
    assert watch.clock.getDelayedCalls() == []


def test_probe_that_ends_the_connection() -> None:
    watch = Watch(Manners.PROMPT)
    watch.liveness._probe = watch.liveness.stop
    watch.pass_(60)
    assert watch.gone == []
    assert watch.clock.getDelayedCalls() == []


# Sockets.


class Reactor(MemoryReactor):
    """A reactor for a transport that the test drives."""


@pytest.fixture
def pair() -> Iterator[tuple[Any, socket.socket]]:
    """Return a TCP transport, and the socket at the other end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
    transport: Any = Connection(sock, Protocol(), Reactor())  # type: ignore[arg-type]
    transport.connected = 1
    yield transport, peer
    peer.close()
    sock.close()


class Wrapping:
    """A transport on top of another one, as TLS is."""

    def __init__(self, below: Any) -> None:
        self.transport = below


@pytest.mark.parametrize("wrap", [lambda transport: transport, Wrapping])
def test_progress_of_what_is_sent(pair: tuple[Any, socket.socket], wrap: Any) -> None:
    transport, peer = pair
    above = wrap(transport)
    idle = unsent(above)
    transport.write(b"x" * 10_000_000)
    while unsent(above) != (before := unsent(above), transport.doWrite())[0]:
        pass
    for _ in range(50):
        blocked = unsent(above)
        transport.doWrite()
        if unsent(above) == blocked:
            break
    assert unsent(above) == blocked != idle, before
    # What is written meanwhile is no progress.
    transport.write(b"y" * 1000)
    assert unsent(above) == blocked
    received = 0
    while received < 10_001_000:
        received += len(peer.recv(2**20))
        transport.doWrite()
        if received < 9_000_000:
            assert unsent(above) != idle
    assert unsent(above) == idle


@pytest.mark.parametrize("wrap", [lambda transport: transport, Wrapping])
def test_options_of_tcp(pair: tuple[Any, socket.socket], wrap: Any) -> None:
    transport, _ = pair
    set_tcp_options(wrap(transport), 60)
    sock = transport.getHandle()
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    def value(name: str) -> int | None:
        option = getattr(socket, name, None)
        return None if option is None else sock.getsockopt(socket.IPPROTO_TCP, option)

    assert value("TCP_USER_TIMEOUT") in (60_000, None)
    idle, interval, count = map(value, ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"))
    if idle is not None and interval is not None and count is not None:
        assert 30 <= idle + interval * count <= 60


@pytest.mark.parametrize("timeout", [0.0, 0.001, 1.0, 1e6, 1e300])
def test_any_timeout_leaves_a_connection_that_works(
    pair: tuple[Any, socket.socket], timeout: float
) -> None:
    transport, peer = pair
    set_tcp_options(transport, timeout)
    transport.getHandle().sendall(b"x")
    assert peer.recv(1) == b"x"


def test_other_transports_have_no_options() -> None:
    set_tcp_options(StringTransport(), 60)
    assert unsent(StringTransport()) == (0, 0)


def test_unix_sockets_have_no_options() -> None:
    ends = socket.socketpair()
    transport: Any = UNIXServer(ends[0], Protocol(), None, None, 1, Reactor())  # type: ignore[arg-type]
    set_tcp_options(transport, 60)
    assert not ends[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    for end in ends:
        end.close()
