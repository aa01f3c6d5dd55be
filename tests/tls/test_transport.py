"""The transport alone, in memory."""

from __future__ import annotations

import ssl
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from zeotwisted.transport.sockets import DirectWriter
from zeotwisted.transport.tls import TLSFactory, TLSTransport
from zeotwisted.transport.tlserrors import HandshakeError

from .certificates import Certificates
from .test_pairs import context


class Recorder(Protocol):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.lost is None
        self.lost = reason


class Producer:
    """Says what happens to it."""

    def __init__(self) -> None:
        self.stopped = False

    def stopProducing(self) -> None:
        self.stopped = True


_recorders: WeakKeyDictionary[TLSTransport, Recorder] = WeakKeyDictionary()


class Pair:
    """A client and a server whose bytes are carried by hand."""

    def __init__(self, certificates: Certificates) -> None:
        self.clock = Clock()
        own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        own.load_cert_chain(*map(str, certificates.server))
        self.client = self._end(context(certificates), False, "zeo.example")
        self.server = self._end(own, True, None)

    def _end(self, made: ssl.SSLContext, is_server: bool, hostname: str | None) -> TLSTransport:
        factory = TLSFactory(Factory.forProtocol(Recorder), made, self.clock, is_server, hostname)
        end = factory.buildProtocol(None)
        assert end is not None
        # It lets go of it when the connection is lost.
        _recorders[end] = end.wrappedProtocol
        end.makeConnection(StringTransport())
        return end

    def carry(self) -> None:
        """Carry bytes until there are none."""
        moved = True
        while moved:
            moved = False
            for source, target in ((self.client, self.server), (self.server, self.client)):
                data = below(source).value()
                below(source).clear()
                if data:
                    moved = True
                    target.dataReceived(data)


def below(end: TLSTransport) -> Any:
    return end.transport


def recorder(end: TLSTransport) -> Recorder:
    return _recorders[end]


@pytest.fixture
def pair(certificates: Certificates) -> Pair:
    return Pair(certificates)


def test_interfaces(pair: Pair) -> None:
    for interface in (ITransport, IConsumer, IPushProducer):
        verifyObject(interface, pair.client)


def test_what_is_written_before_the_handshake_is_sent_after_it(pair: Pair) -> None:
    pair.server.write(b"greeting")
    assert below(pair.server).value() == b""
    pair.carry()
    assert recorder(pair.client).data == b"greeting"
    assert not pair.clock.getDelayedCalls()


def test_large_data_in_order(pair: Pair) -> None:
    pair.carry()
    data = bytes(range(256)) * 2**13
    pair.client.write(data)
    pair.client.writeSequence([b"a", b"b"])
    pair.client.loseConnection()
    pair.carry()
    assert recorder(pair.server).data == data + b"ab"
    assert below(pair.server).disconnecting


def test_closing_is_announced(pair: Pair) -> None:
    pair.carry()
    pair.client.loseConnection()
    pair.client.write(b"too late")
    pair.carry()
    for end in (pair.server, pair.client):
        end.connectionLost(Failure(ConnectionDone()))
        lost = recorder(end).lost
        assert lost is not None and lost.check(ConnectionDone)
    assert recorder(pair.server).data == b""


def test_a_connection_that_is_cut_off(pair: Pair) -> None:
    pair.carry()
    pair.server.write(b"x")
    pair.carry()
    for end in (pair.server, pair.client):
        end.connectionLost(Failure(ConnectionDone()))
        lost = recorder(end).lost
        assert lost is not None and lost.check(ConnectionLost)
        assert "without TLS's notice" in lost.getErrorMessage()


def test_bytes_that_are_no_tls(pair: Pair) -> None:
    pair.carry()
    pair.server.write(b"x")
    pair.carry()
    pair.client.dataReceived(b"\0" * 100)
    assert below(pair.client).disconnecting
    pair.client.connectionLost(Failure(ConnectionDone()))
    lost = recorder(pair.client).lost
    assert lost is not None and lost.check(ConnectionLost)


def test_a_producer_waits_for_the_handshake(pair: Pair) -> None:
    producer = Producer()
    pair.server.registerProducer(producer, True)
    assert below(pair.server).producer is None
    pair.carry()
    assert below(pair.server).producer is producer
    pair.server.unregisterProducer()
    assert below(pair.server).producer is None


def test_a_producer_is_told_of_the_end(pair: Pair) -> None:
    early, late = Producer(), Producer()
    pair.server.registerProducer(early, True)
    pair.server.connectionLost(Failure(ConnectionDone()))
    pair.server.registerProducer(late, True)
    assert early.stopped and late.stopped


def test_reading_can_be_paused(pair: Pair) -> None:
    pair.carry()
    pair.server.pauseProducing()
    assert below(pair.server).producerState == "paused"
    pair.server.resumeProducing()
    assert below(pair.server).producerState == "producing"


def test_an_aborted_connection_says_nothing_more(pair: Pair) -> None:
    pair.carry()
    pair.client.write(b"abc")
    data = below(pair.client).value()
    pair.server.abortConnection()
    pair.server.dataReceived(data)
    assert recorder(pair.server).data == b""
    assert below(pair.server).disconnecting or below(pair.server).aborting


def test_a_client_that_stops_in_mid_handshake(pair: Pair) -> None:
    pair.server.dataReceived(below(pair.client).value()[:20])
    pair.clock.advance(10)
    assert below(pair.server).disconnecting
    pair.server.connectionLost(Failure(ConnectionDone()))
    lost = recorder(pair.server).lost
    assert lost is not None and lost.check(HandshakeError)
    assert "did not complete it within 10 seconds" in lost.getErrorMessage()


class Eager(StringTransport):
    """A socket that takes everything at once, and then asks for more."""

    def write(self, data: bytes) -> None:
        super().write(data)
        self.startWriting()

    def startWriting(self) -> None:
        if self.producer is not None:
            self.producer.resumeProducing()


class Pulled:
    """Writes one thing after the other, each time that it is asked."""

    def __init__(self, transport: TLSTransport, data: list[bytes]) -> None:
        self._transport = transport
        self._data = data

    def resumeProducing(self) -> None:
        if self._data:
            self._transport.write(self._data.pop(0))
        else:
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("size", [1000, 2**18, 2**20])
def test_who_is_asked_for_more_in_the_midst_of_writing_writes_behind_it(
    pair: Pair, size: int
) -> None:
    pair.carry()
    socket = pair.client.transport = Eager()
    pair.client._writer = DirectWriter(socket)
    data = [bytes([number]) * size for number in range(5)]
    producer = Pulled(pair.client, list(data))
    pair.client.registerProducer(producer, False)
    producer.resumeProducing()
    pair.carry()
    assert recorder(pair.server).data == b"".join(data)
    assert socket.producer is None
