"""What visitors take of the daemon is bounded: connections, bytes, time."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

import zeotwisted
from tests.clientstorage.support import wait_until
from zeotwisted.http.guard import LONGEST_REQUEST, Guard

from .support import all_of, web


class Port:
    """A port. It notes whether it accepts."""

    accepts = True

    def stopReading(self) -> None:
        self.accepts = False

    def startReading(self) -> None:
        self.accepts = True


class Transport(StringTransport):
    """A transport that notes an abort."""

    def abortConnection(self) -> None:
        self.disconnecting = self.aborted = True

    aborted = False


class Guests:
    """Visitors, with a clock of their own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.guard = Guard(Factory.forProtocol(Protocol), self.clock)
        self.port: Any = Port()
        self.guard.port = self.port

    def come(self, host: str = "192.0.2.1") -> tuple[Any, Transport]:
        transport = Transport()
        kind = IPv6Address if ":" in host else IPv4Address
        protocol: Any = self.guard.buildProtocol(kind("TCP", host, 1))
        protocol.makeConnection(transport)
        self.clock.advance(0.2)
        return protocol, transport


@pytest.fixture
def guests() -> Guests:
    return Guests()


def test_a_request_has_to_arrive_in_time(guests: Guests) -> None:
    protocol, transport = guests.come()
    guests.clock.advance(5)
    protocol.dataReceived(b"GET")
    assert not transport.aborted
    guests.clock.advance(5)
    assert transport.aborted, "drop by drop does not help"


def test_an_answer_has_to_be_taken_in_time(guests: Guests) -> None:
    protocol, transport = guests.come()
    protocol.answering()
    guests.clock.advance(29)
    assert not transport.aborted
    guests.clock.advance(2)
    assert transport.aborted


def test_an_answer_without_an_end_may_last(guests: Guests) -> None:
    protocol, transport = guests.come()
    protocol.answering()
    protocol.stay()
    guests.clock.advance(1000)
    assert not transport.aborted


def test_no_timer_stays_when_a_visitor_has_gone(guests: Guests) -> None:
    protocol, _ = guests.come()
    protocol.connectionLost()
    assert not guests.clock.getDelayedCalls()


def test_not_more_than_there_may_be(guests: Guests) -> None:
    for number in range(60):
        protocol, transport = guests.come(f"192.0.2.{number}")
        protocol.answering()
        assert not transport.value()
    _, transport = guests.come("192.0.2.99")
    assert transport.value().startswith(b"HTTP/1.1 503 ") and transport.disconnecting
    protocol.connectionLost()
    assert not guests.come("192.0.2.99")[1].value(), "one has gone"


def test_one_host_has_not_all(guests: Guests) -> None:
    for _ in range(40):
        guests.come()[0].answering()
    assert guests.come()[1].value().startswith(b"HTTP/1.1 503 ")
    assert not guests.come("192.0.2.2")[1].value()


def test_the_addresses_of_one_network_count_together(guests: Guests) -> None:
    """Who has an IPv6 address has billions of them. They count together for passwords, too."""
    for number in range(40):
        protocol, _ = guests.come(f"2001:db8::{number:x}")
        protocol.answering()
        assert protocol.host == "2001:db8::/64"
    assert guests.come("2001:db8::ffff")[1].value().startswith(b"HTTP/1.1 503 ")
    assert not guests.come("2001:db8:1::1")[1].value()


def test_who_asks_for_nothing_gives_way(guests: Guests) -> None:
    idle = [guests.come() for _ in range(40)]
    assert not guests.come()[1].value()
    assert [transport.aborted for _, transport in idle[:2]] == [True, False]


def test_a_flood_waits_in_the_system(guests: Guests) -> None:
    for _ in range(9):
        guests.guard.buildProtocol(None)
    assert guests.port.accepts
    guests.guard.buildProtocol(None)
    assert not guests.port.accepts
    guests.clock.advance(0.2)
    assert guests.port.accepts


def test_the_end_ends_all(guests: Guests) -> None:
    _, transport = guests.come()
    guests.guard.buildProtocol(None)
    guests.guard.close()
    assert transport.aborted
    assert not guests.clock.getDelayedCalls()


def test_a_giant_request_is_refused() -> None:
    for start in (
        b"GET /%s HTTP/1.1\r\n" % (b"x" * LONGEST_REQUEST),
        b"GET /live HTTP/1.1\r\n" + b"x: y\r\n" * (LONGEST_REQUEST // 6),
        b"POST /live HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
        + (b"100\r\n" + b"x" * 256 + b"\r\n") * 80,
        b"POST /live HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n"
        + b"x" * 20_000,
    ):
        with web() as site, site.connect() as sock:
            sock.sendall(start)
            try:
                answer = all_of(sock)
            except ConnectionResetError:
                continue
            assert answer[:12] in (b"HTTP/1.1 413", b"HTTP/1.1 400"), answer


@pytest.mark.parametrize(
    "nonsense", [b"\0" * 100, b"\r\n" * 50 + b"hello\r\n\r\n", b"\x16\x03\x01"]
)
def test_nonsense_is_no_request(nonsense: bytes) -> None:
    with web() as site, site.connect() as sock:
        sock.sendall(nonsense)
        sock.shutdown(socket.SHUT_WR)
        assert b"200 OK" not in all_of(sock)
        assert site.get("/live")[0] == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /disconnect?client=%ff&client=1&token HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /?%s HTTP/1.1\r\nhost: localhost\r\n\r\n" % (b"a=1&" * 3000),
        b"GET http://evil.example/ HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET * HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: \xff\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: [::1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nauthorization: \xff\r\n\r\n",
        b"POST /disconnect HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /disconnect HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: x\r\n\r\n",
        b"POST /disconnect HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n"
        b"content-type: multipart/form-data\r\n\r\nabc",
        b"POST /disconnect HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n"
        b"content-type: multipart/form-data; boundary=x\r\n\r\nabc",
        b"POST /disconnect HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n"
        b"content-type: application/x-www-form-urlencoded\r\n\r\n\xff=\xff",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_nonsense_gets_a_proper_answer(request_: bytes) -> None:
    failures: list[str] = []

    def observe(event: Any) -> None:
        if event["log_level"] >= LogLevel.error:
            failures.append(formatEvent(event))

    with web() as site, site.connect() as sock:
        globalLogPublisher.addObserver(observe)
        try:
            sock.sendall(request_)
            sock.shutdown(socket.SHUT_WR)
            try:
                answer = all_of(sock)
            except ConnectionResetError:
                answer = b""
            assert site.get("/live")[0] == 200
        finally:
            globalLogPublisher.removeObserver(observe)
    assert not answer or answer[9:12] in (b"200", b"400", b"403", b"404", b"405", b"421", b"501")
    assert failures == []


def test_several_requests_at_once_are_answered_once() -> None:
    with web() as site, site.connect() as sock:
        sock.sendall(b"GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n" * 20)
        try:
            found = all_of(sock)
        except ConnectionResetError:
            return
        assert found.count(b"200 OK") == 1


def test_clients_are_served_during_a_flood_of_visitors() -> None:
    """A hundred scrapers that never read, and as many connections as one likes."""
    with web() as site:
        db = zeotwisted.DB(site.served.address)
        lazy: list[socket.socket] = []
        for _ in range(150):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(site.address)
            lazy.append(sock)
        begin = time.monotonic()
        for number in range(50):
            with db.transaction() as connection:
                connection.root()["x"] = number
        assert time.monotonic() - begin < 10
        for sock in lazy:
            sock.close()
        wait_until("it answers again", lambda: site.get("/live")[0] == 200)
        db.close()
