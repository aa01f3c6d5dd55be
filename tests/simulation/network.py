"""Connections between simulated processes.

Bytes arrive in their order, in pieces of any size, after any delay. A connection can be reset, and
then the bytes under way are lost. It can fall silent: each end goes on to send, nothing arrives.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    TimeoutError,
    UserError,
)
from twisted.internet.interfaces import (
    IConnector,
    IListeningPort,
    ITCPTransport,
    IWriteDescriptor,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from .scheduler import Scheduler, Task

__all__ = ["Connector", "Network", "Port", "Transport"]

#: How many bytes a connection takes before the sender has to wait; in some worlds less.
_CAPACITIES = (65536, 65536, 4000, 500)

#: The longest delay (seconds) of a piece that is not unlucky.
_LATENCIES = (0.002, 0.002, 0.05)

#: How often a connection is a bare one. Others are like those with TLS: only the transport sends,
#: and it delivers what it has read, even if it is paused meanwhile.
_BARE = 0.7

#: From how many waiting bytes on a producer is paused, as in Twisted.
_FULL = 65536


class Network:
    """All connections and ports of a world.

    :ivar latency: the longest delay (seconds) of a piece that is not unlucky.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.latency = scheduler.random.choice(_LATENCIES)
        self.capacity = scheduler.random.choice(_CAPACITIES)
        self.transports: list[Transport] = []
        self._ports: dict[tuple[str, int], Port] = {}
        #: The hosts that nobody can reach now.
        self.unreachable: set[str] = set()
        self._next_port = 40000

    def delay(self) -> float:
        """Return how long (seconds) a piece is under way: mostly little, sometimes much."""
        random = self.scheduler.random
        return random.random() * self.latency * (100 if random.random() < 0.01 else 1)

    def listen(self, reactor: Any, port: int, factory: Any) -> Port:
        """Listen at an address."""
        address = (reactor.host, port)
        if address in self._ports:
            raise CannotListenError(*address, OSError("address already in use"))
        self._ports[address] = opened = Port(self, reactor, address, factory)
        return opened

    def unlisten(self, port: Port) -> None:
        """Free the address of a port."""
        if self._ports.get(port.address) is port:
            del self._ports[port.address]

    def connect(
        self, reactor: Any, host: str, port: int, factory: Any, timeout: float
    ) -> Connector:
        """Connect to an address."""
        connector = Connector(self, reactor, (host, port), factory, timeout)
        self.scheduler.call_after(self.delay(), connector.reach)
        return connector

    def port(self, address: tuple[str, int]) -> Port | None:
        """Return who listens at an address."""
        return self._ports.get(address)

    def open(self, connector: Connector, port: Port) -> None:
        """Connect two processes."""
        self._next_port += 1
        client = (connector.reactor.host, self._next_port)
        ends = (
            Transport(self, connector.reactor, client, port.address),
            Transport(self, port.reactor, port.address, client),
        )
        ends[0].peer, ends[1].peer = ends[1], ends[0]
        ends[0].is_bare = ends[1].is_bare = self.scheduler.random.random() < _BARE
        self.transports += ends
        port.reactor.arrived(partial(ends[1].begin, port.factory))
        connector.reactor.arrived(partial(connector.connected, ends[0]))

    # Faults.

    def reset(self, transport: Transport) -> None:
        """Lose a connection: both ends notice at some time."""
        for end in (transport, transport.peer):
            self.scheduler.call_after(self.delay(), partial(end.broken, ConnectionLost()))

    def silence(self, transport: Transport) -> None:
        """Let nothing arrive any more, and no end notice."""
        for end in (transport, transport.peer):
            end.silent_since = end.silent_since or self.scheduler.now
            end.wire.clear()

    def longest_silence(self) -> float:
        """Return for how long (seconds) a connection is silent and not given up."""
        begun = (end.silent_since for end in self.transports if end.silent_since is not None)
        return self.scheduler.now - min(begun, default=self.scheduler.now)

    def process_ended(self, owner: Any, notices: bool) -> None:
        """Break the connections of a process that was killed.

        :param notices: whether the others notice: its machine still runs.
        """
        for port in [port for port in self._ports.values() if port.reactor.owner is owner]:
            self.unlisten(port)
        for end in [end for end in self.transports if end.reactor.owner is owner]:
            end.open = False
            self.transports.remove(end)
            if notices:
                # What the process has sent still arrives, and then the end.
                end.finish(ConnectionLost() if end.inbox else ConnectionDone())
            else:
                self.silence(end)


@implementer(IListeningPort)
class Port:
    """A process listens."""

    def __init__(
        self, network: Network, reactor: Any, address: tuple[str, int], factory: Any
    ) -> None:
        self.reactor = reactor
        self.address = address
        self.factory = factory
        self._network = network

    def startListening(self) -> None:
        """See `IListeningPort`."""

    def stopListening(self) -> None:
        """See `IListeningPort`."""
        self._network.unlisten(self)

    def getHost(self) -> IPv4Address:
        """See `IListeningPort`."""
        return IPv4Address("TCP", *self.address)


@implementer(IConnector)
class Connector:
    """An attempt to connect."""

    def __init__(
        self, network: Network, reactor: Any, address: tuple[str, int], factory: Any, timeout: float
    ) -> None:
        self.reactor = reactor
        self._network = network
        self._address = address
        self._factory = factory
        self._under_way = True
        self._transport: Transport | None = None
        self._timeout = reactor.callLater(timeout, self._fail, TimeoutError())
        factory.doStart()
        factory.startedConnecting(self)

    def reach(self) -> None:
        """The first packet has arrived at the host."""
        hosts = {self._address[0], self.reactor.host}
        if not self._under_way or not self.reactor.owner.alive or hosts & self._network.unreachable:
            return
        port = self._network.port(self._address)
        if port is None:
            self.reactor.arrived(partial(self._fail, ConnectionRefusedError()))
        else:
            self._network.open(self, port)

    def connected(self, transport: Transport) -> None:
        """There is a connection."""
        if not self._under_way:
            transport.abortConnection()
            return
        if not transport.open:
            # It was reset before the process has looked at it.
            self._fail(ConnectionRefusedError())
            return
        self._under_way = False
        self._timeout.cancel()
        self._transport = transport
        transport.begin(self._factory)

    def _fail(self, error: Exception) -> None:
        if self._under_way:
            self._under_way = False
            if self._timeout.active():
                self._timeout.cancel()
            self._factory.clientConnectionFailed(self, Failure(error))
            self._factory.doStop()

    def stopConnecting(self) -> None:
        """See `IConnector`."""
        self._fail(UserError())

    def disconnect(self) -> None:
        """See `IConnector`."""
        if self._transport is None:
            self.stopConnecting()
        else:
            self._transport.loseConnection()

    def connect(self) -> None:
        """See `IConnector`."""
        raise NotImplementedError("a storage makes a new connector for each attempt")

    def getDestination(self) -> IPv4Address:
        """See `IConnector`."""
        return IPv4Address("TCP", *self._address)


@implementer(ITCPTransport, IWriteDescriptor)
class Transport:
    """One end of a connection.

    :ivar wire: the bytes under way to this end's peer.
    :ivar inbox: the bytes that have arrived and that the process has not read.
    :ivar has_ended: whether the end of the connection, or an error, has arrived.
    :ivar is_bare: whether the process may use the socket itself, see `sockets`.
    :ivar dataBuffer: the bytes that the socket has not taken, as in Twisted's transports.
    :ivar reading: through which threads read, or None.
    :ivar reader: the task that waits for bytes, or None.
    """

    peer: Transport

    def __init__(
        self, network: Network, reactor: Any, host: tuple[str, int], peer: tuple[str, int]
    ) -> None:
        self.reactor = reactor
        self.open = True
        self.silent_since: float | None = None
        self.disconnecting = False
        self.wire = bytearray()
        self.inbox = bytearray()
        self.protocol: Any = None
        self.has_ended = False
        self.is_bare = False
        self.dataBuffer = b""
        self.reading: Any = None
        self.reader: Task | None = None
        self._network = network
        self.scheduler = network.scheduler
        self._host = host
        self._peer = peer
        # What was written since the last `doWrite`.
        self._written: list[bytes] = []
        self._producer: Any = None
        self._streaming = False
        self._producer_paused = False
        self._reading = True
        # What ends the connection at the peer, behind the bytes of the wire.
        self._last: Exception | None = None
        self._end: Exception | None = None
        self._carrying = False

    @property
    def silent(self) -> bool:
        """Whether nothing travels any more, and no end notices it."""
        return self.silent_since is not None

    @property
    def connected(self) -> bool:
        """Whether the connection is open, as far as this end knows."""
        return self.open

    def begin(self, factory: Any) -> None:
        """Make the protocol."""
        if not self.open:
            return
        self.protocol = factory.buildProtocol(self.getPeer())
        if self.protocol is None:
            self.abortConnection()
            return
        self.protocol.makeConnection(self)
        self._arrived()

    # What the protocol calls.

    def write(self, data: bytes) -> None:
        """See `ITransport`."""
        if not self.open or self.disconnecting:
            return
        self._written.append(bytes(data))
        size = len(self.dataBuffer) + sum(map(len, self._written))
        if self._producer is not None and self._streaming and size > _FULL:
            self._producer_paused = True
            self._producer.pauseProducing()
        self.reactor.arrived(self._writable)

    def writeSequence(self, data: Any) -> None:
        """See `ITransport`."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """See `ITransport`."""
        if self.open and not self.disconnecting:
            self.disconnecting = True
            self.doWrite()

    def abortConnection(self) -> None:
        """See `ITCPTransport`."""
        if not self.open:
            return
        self.disconnecting = True
        self._written.clear()
        self.dataBuffer = b""
        self.reactor.callLater(0, self._lose, ConnectionAborted())
        if not self.silent:
            peer = self.peer
            self.scheduler.call_after(self._network.delay(), partial(peer.broken, ConnectionLost()))

    def getPeer(self) -> IPv4Address:
        """See `ITransport`."""
        return IPv4Address("TCP", *self._peer)

    def getHost(self) -> IPv4Address:
        """See `ITransport`."""
        return IPv4Address("TCP", *self._host)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """See `IConsumer`."""
        if self._producer is not None:
            raise RuntimeError("there is a producer already")
        if not self.open:
            producer.stopProducing()
            return
        self._producer, self._streaming = producer, streaming
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """See `IConsumer`."""
        self._producer = None
        if self.disconnecting:
            self.doWrite()

    def pauseProducing(self) -> None:
        """See `IPushProducer`."""
        self._reading = False

    def resumeProducing(self) -> None:
        """See `IPushProducer`."""
        if self.open and not self._reading:
            self._reading = True
            self.reactor.arrived(self._arrived)

    def stopProducing(self) -> None:
        """See `IPushProducer`."""
        self.loseConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        """See `ITCPTransport`."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """See `ITCPTransport`."""

    def getTcpNoDelay(self) -> bool:
        """See `ITCPTransport`."""
        return True

    def getTcpKeepAlive(self) -> bool:
        """See `ITCPTransport`."""
        return True

    def getHandle(self) -> None:
        """There is no socket."""

    def loseWriteConnection(self) -> None:
        """See `ITCPTransport`."""
        raise NotImplementedError("nobody closes one direction only")

    def logPrefix(self) -> str:
        """See `ILoggingContext`."""
        return "simulated"

    # The socket, for the reactor and for threads of the process.

    def take(self, data: bytes) -> int:
        """Give the wire some bytes; return how many it takes."""
        self.scheduler.pause()
        room = self._room()
        self.wire += data[:room]
        if self.wire:
            self._carry()
        return len(data[:room])

    def _room(self) -> int:
        """Return how many bytes the wire takes."""
        if not self.open or self.silent:
            # If it is silent, nobody sees what else the system would take.
            return 0
        return max(0, self._network.capacity - len(self.wire) - len(self.peer.inbox))

    def receive(self) -> bytes:
        """Return all bytes that have arrived."""
        data = bytes(self.inbox)
        self.inbox.clear()
        # The peer may send more.
        self.peer.reactor.arrived(self.peer._writable)
        return data

    def wake_reader(self) -> None:
        """Wake the thread that waits for bytes."""
        if self.reader is not None:
            self.scheduler.wake(self.reader)

    def readable(self) -> None:
        """There may be something to read: tell the thread that waits for it, or the reactor."""
        self.wake_reader()
        self.reactor.arrived(self._arrived)

    # Sending.

    def _writable(self) -> None:
        """The wire may take something: it is the reactor's turn."""
        if self._room() or not (self.dataBuffer or self._written):
            self.doWrite()

    def doWrite(self) -> None:
        """See `IWriteDescriptor`: give the wire what it takes."""
        if not self.open:
            return
        self.dataBuffer += b"".join(self._written)
        self._written.clear()
        if self.dataBuffer:
            self.dataBuffer = self.dataBuffer[self.take(self.dataBuffer) :]
        if not self.dataBuffer and not self._written:
            self._drained()

    def _drained(self) -> None:
        producer = self._producer
        if producer is not None and (self._producer_paused or not self._streaming):
            self._producer_paused = False
            producer.resumeProducing()
        elif self.disconnecting and producer is None:
            self.finish(ConnectionDone())
            self.reactor.arrived(partial(self._lose, ConnectionDone()))

    def finish(self, end: Exception) -> None:
        """Let the peer know of the end of the connection, after the last byte."""
        if self._last is None:
            self._last = end
            self._carry()

    def _carry(self) -> None:
        """Let a piece travel."""
        if not self._carrying and not self.silent:
            self._carrying = True
            self.scheduler.call_after(self._network.delay(), self._carried)

    def _carried(self) -> None:
        self._carrying = False
        if self.silent:
            return
        peer = self.peer
        if self.wire:
            size = self._piece()
            peer.inbox += self.wire[:size]
            del self.wire[:size]
        if self.wire:
            self._carry()
        elif self._last is not None:
            peer._end = self._last
            peer.has_ended = True
        if peer.open:
            peer.readable()

    def _piece(self) -> int:
        """Return how many bytes arrive together: usually all, often any number, sometimes one."""
        random = self.scheduler.random
        chance = random.random()
        if chance < 0.6:
            return len(self.wire)
        return 1 if chance < 0.65 else random.randint(1, len(self.wire))

    # Receiving, in the reactor.

    def _arrived(self) -> None:
        if not self.open or not self._reading or self.protocol is None:
            return
        if self.reading is None:
            self._read()
        elif self.reading.begin():
            try:
                self._read()
            finally:
                self.reading.end_quietly()

    def _read(self) -> None:
        if self.inbox:
            data = self.receive()
            cut = len(data) if self.is_bare else self.scheduler.random.randint(1, len(data))
            self.protocol.dataReceived(data[:cut])
            if data[cut:] and self.open:
                self.protocol.dataReceived(data[cut:])
            if not self._reading or not self.open:
                return
        if self._end is not None and not self.inbox:
            self._lose(self._end)

    def broken(self, error: Exception) -> None:
        """The connection is lost: bytes that were not read are lost, too."""
        if self.open:
            self.wire.clear()
            self.has_ended = True
            self.wake_reader()
            self.reactor.arrived(partial(self._lose, error))

    def _lose(self, error: Exception) -> None:
        if not self.open:
            return
        self.open = False
        self.inbox.clear()
        if self in self._network.transports:
            self._network.transports.remove(self)
        if self.protocol is not None:
            self.protocol.connectionLost(Failure(error))
