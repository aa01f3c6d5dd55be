"""Peers that do exactly what a test says, and a server whose threads run when a test says.

There is no socket, no thread and no clock but the test's, so that every interleaving can be made to
happen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from ZODB.MappingStorage import MappingStorage

from zeotwisted.access import OPEN, Access
from zeotwisted.clientstorage.calls.waiter import Waiter
from zeotwisted.clientstorage.records.loads import into_cache
from zeotwisted.clientstorage.storage import ClientStorage
from zeotwisted.protocol.capabilities import TID_AT_VOTE, Capabilities
from zeotwisted.protocol.methods import CLIENT_CALLS
from zeotwisted.protocol.session import (
    Called,
    ClientHandshake,
    Failed,
    Input,
    Replied,
    ServerHandshake,
    Session,
)
from zeotwisted.storageserver.connections import StorageServerFactory
from zeotwisted.storageserver.engine import Single
from zeotwisted.storageserver.limits import Limits
from zeotwisted.storageserver.options import ServerOptions
from zeotwisted.storageserver.storage import ServedStorage, Threads

OID_A, OID_B = (number.to_bytes(8, "big") for number in (1, 2))
T0, T1, T2, T3 = (number.to_bytes(8, "big") for number in (10, 11, 12, 13))
LATEST = b"\x7f" + b"\xff" * 7


class Thread:
    """Stands in for a thread: work waits until the test lets it be done.

    :param call_from_thread: how the result gets back to the reactor.
    """

    def __init__(self, call_from_thread: Callable[..., Any]) -> None:
        self._call_from_thread = call_from_thread
        self._jobs: deque[Callable[[], None]] = deque()
        #: Whether work is done at once.
        self.immediate = True

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def job() -> None:
            try:
                result = function(*args)
            except Exception:
                self._call_from_thread(done.errback, Failure())
            else:
                self._call_from_thread(done.callback, result)

        if self.immediate:
            job()
        else:
            self._jobs.append(job)
        return done

    def work(self) -> None:
        """Do what was asked for first."""
        self._jobs.popleft()()

    def __len__(self) -> int:
        return len(self._jobs)


class Reactor:
    """Stands in for the calls from threads: they wait until the test lets them happen."""

    def __init__(self) -> None:
        self._calls: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self.immediate = True

    def call_from_thread(self, function: Callable[..., Any], *args: Any) -> None:
        if self.immediate:
            function(*args)
        else:
            self._calls.append((function, args))

    def turn(self) -> None:
        """Make the calls that are waiting, in their order."""
        while self._calls:
            function, args = self._calls.popleft()
            function(*args)


class Server:
    """A real server, as far as its factory goes, of one storage."""

    def __init__(self, storage: Any = None, access: Access = OPEN, **options: Any) -> None:
        self.clock = Clock()
        self.reactor = Reactor()
        self.commits = Thread(self.reactor.call_from_thread)
        self.slow = Thread(self.reactor.call_from_thread)
        self.storage = MappingStorage() if storage is None else storage
        settings = ServerOptions(**options)
        call_from_thread, slow = self.reactor.call_from_thread, self.slow.run
        threads = Threads(self.clock, call_from_thread, self.commits.run, slow, slow)
        self.limits = Limits(settings, self.clock)
        self.served = ServedStorage("1", Single(self.storage), settings, threads, self.limits)
        self.factory = StorageServerFactory(
            {"1": self.served}, settings, self.clock, access, self.limits
        )

    def client(self, register: bool = True, protocol: bytes = b"") -> PuppetClient:
        """Return a client, registered unless told otherwise.

        :param protocol: what it speaks, if it does not choose.
        """
        client = PuppetClient(self, protocol)
        if register:
            client.register()
        return client


class Speaks:
    """A client's handshake that does not care what was announced."""

    calls = CLIENT_CALLS

    def __init__(self, protocol: bytes) -> None:
        self._protocol = protocol

    def opening(self) -> None:
        return None

    def received(self, frame: bytes) -> tuple[Input, bytes, bytes]:
        return Input.VERSION, self._protocol, self._protocol


class PuppetClient:
    """The other end of a server's protocol."""

    def __init__(self, server: Server, protocol: bytes = b"") -> None:
        self.protocol = server.factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)
        self._session = Session(Speaks(protocol) if protocol else ClientHandshake())
        self._ids = iter(range(1, 1_000_000))
        self._receive()
        self.protocol.dataReceived(self._session.greeting)

    def register(self, read_only: bool = False) -> bytes:
        """Exchange capabilities and register; return the server's last tid."""
        if self._session.protocol == b"M6":
            self.ask("capabilities", "1", {TID_AT_VOTE: {}})
        return self.ask("register", "1", read_only)

    def _receive(self) -> list[Any]:
        data = self.transport.value()
        self.transport.clear()
        return list(self._session.receive(data))

    def send(self, name: str, *args: Any) -> int:
        """Call the server and do not look at what it sends; return the call's number."""
        id = next(self._ids)
        self.protocol.dataReceived(self._session.call(id, name, *args))
        return id

    def send_together(self, *calls: tuple[Any, ...]) -> None:
        """Make calls that arrive in one piece, and do not look at what the server sends."""
        frames = [self._session.call(next(self._ids), *call) for call in calls]
        self.protocol.dataReceived(b"".join(frames))

    def tell(self, name: str, *args: Any) -> None:
        """Call the server one-way."""
        self.protocol.dataReceived(self._session.oneway(name, *args))

    def received(self) -> list[tuple[Any, ...]]:
        """Return what has arrived since the last look, in the order of the wire.

        An answer is ``("reply", id, value)``, an exception ``("error", id, exception)``, and what
        the server says on its own ``(name, *args)``. News of the storage's size are left out.
        """
        events: list[tuple[Any, ...]] = []
        for event in self._receive():
            if type(event) is Replied:
                events.append(("reply", event.id, event.value))
            elif type(event) is Failed:
                events.append(("error", event.id, event.error))
            elif type(event) is Called and event.call.name != "info":
                events.append((event.call.name, *event.args))
        return events

    def ask(self, name: str, *args: Any) -> Any:
        """Call the server and return the answer, which must be there at once."""
        event = self.reply(name, *args)
        if event is None:
            raise AssertionError(f"{name} was not answered")
        if type(event) is Failed:
            raise event.error
        return event.value

    def reply(self, name: str, *args: Any) -> Any:
        """Call the server; return its message, or None if there is none yet."""
        id = self.send(name, *args)
        for event in self._receive():
            if name == "register" and type(event) is Replied:
                self._session.registered()
            if type(event) in (Replied, Failed) and event.id == id:
                return event
        return None

    def begin(self, transaction: int, *oids: bytes, serial: bytes = b"\0" * 8) -> None:
        """Begin a transaction that stores new revisions of objects."""
        self.tell("tpc_begin", transaction, "", "", {})
        for oid in oids:
            self.tell("storea", oid, serial, b"data of %d" % transaction, transaction)

    def commit(self, transaction: int, *oids: bytes, serial: bytes = b"\0" * 8) -> bytes:
        """Commit a transaction that stores new revisions of objects; return the tid."""
        self.begin(transaction, *oids, serial=serial)
        self.ask("vote", transaction)
        return self.ask("tpc_finish", transaction)

    @property
    def dropped(self) -> bool:
        """Whether the server has ended the connection."""
        return bool(self.transport.disconnected or self.transport.disconnecting)

    def lose(self) -> None:
        """The connection is lost."""
        self.protocol.connectionLost(Failure(ConnectionLost()))


class MemoryReactor(MemoryReactorClock):
    """A reactor without threads and sockets."""

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        function(*args)


class Database:
    """What a storage takes for its database."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.on_invalidate: Callable[[bytes, Any], Any] = lambda tid, oids: None

    def invalidate(self, tid: bytes, oids: Any) -> None:
        self.heard.append((tid, set(oids)))
        self.on_invalidate(tid, oids)

    def invalidateCache(self) -> None:
        self.heard.append("everything")

    references = None

    def transform_record_data(self, data: bytes) -> bytes:
        return data

    untransform_record_data = transform_record_data


class Client:
    """A real ClientStorage whose server is a puppet."""

    def __init__(self, addr: Any = ("127.0.0.1", 1), **options: Any) -> None:
        self.reactor = MemoryReactor()
        self.storage = ClientStorage(addr, wait=False, reactor=self.reactor, **options)
        self.database = Database()
        self.storage.registerDB(self.database)

    def accept(self) -> PuppetServer:
        """Accept the connection that the client asks for."""
        return PuppetServer(self)

    def load(self, *oids: bytes, tid: bytes = LATEST) -> None:
        """Ask for records as threads that load them do, and do not wait."""
        storage = self.storage
        for oid in oids:
            waiter = Waiter(into_cache(storage._coherence, oid))
            storage._link.protocol().call(waiter, "loadBefore", oid, tid)

    def cached(self, oid: bytes, tid: bytes = LATEST) -> Any:
        """Return what the client believes without asking the server."""
        return self.storage._coherence.load_before(oid, tid)


class PuppetServer:
    """The other end of a client's protocol.

    :ivar offered: the capabilities that the client has.
    """

    offered: Capabilities

    def __init__(
        self,
        client: Client,
        handshake: ServerHandshake | None = None,
        capabilities: Capabilities = {},  # noqa: B006 - it is not changed
    ) -> None:
        self.capabilities = capabilities
        _, _, factory, _, _ = client.reactor.tcpClients.pop()
        self.transport = StringTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 1))
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self._session = Session(handshake or ServerHandshake())
        self.protocol.dataReceived(self._session.greeting)
        self._calls: list[Called] = []
        self._receive()

    def _receive(self) -> None:
        data = self.transport.value()
        self.transport.clear()
        for event in self._session.receive(data):
            if type(event) is not Called:
                continue
            if event.call.name == "capabilities":
                self.offered = event.args[1]
                self.deliver(self._session.reply(event.id, self.capabilities))
            else:
                self._calls.append(event)

    def next(self, name: str) -> Called:
        """Return the client's next call, which must be `name`."""
        self._receive()
        assert self._calls, f"{name} was expected, nothing came"
        call = self._calls.pop(0)
        assert call.call.name == name
        return call

    def calls(self) -> list[str]:
        """Return the names of the calls that have not been looked at."""
        self._receive()
        return [call.call.name for call in self._calls]

    def answer(self, call: Called, value: Any) -> bytes:
        """Return the bytes of an answer."""
        assert call.id is not None
        if call.call.name == "register":
            self._session.registered()
        return self._session.reply(call.id, value)

    def refusal(self, call: Called, error: Exception) -> bytes:
        """Return the bytes of an exception for an answer."""
        assert call.id is not None
        return self._session.failure(call.id, error)

    def says(self, name: str, *args: Any) -> bytes:
        """Return the bytes of something that the server says on its own."""
        return self._session.oneway(name, *args)

    def deliver(self, *frames: bytes) -> None:
        """Let frames arrive together."""
        self.protocol.dataReceived(b"".join(frames))

    def establish(self, tid: bytes = T0) -> PuppetServer:
        """Go through registration and verification of a client that has missed nothing."""
        self.deliver(self.answer(self.next("register"), tid))
        self.deliver(self.answer(self.next("get_info"), INFO))
        return self

    def lose(self) -> None:
        """The connection is lost."""
        self.protocol.connectionLost(Failure(ConnectionLost()))


INFO = {"length": 0, "size": 0, "name": "puppet", "supportsUndo": False, "interfaces": ()}
