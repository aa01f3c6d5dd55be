"""The life of a client's connection against a list of the servers that it talks to."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.error import ConnectionRefusedError
from twisted.python.failure import Failure
from ZODB.POSException import ReadOnlyError
from ZODB.utils import p64

from zeotwisted.clientstorage.cache import ClientCache
from zeotwisted.clientstorage.connection.connection import ClientConnection
from zeotwisted.clientstorage.connection.states import USABLE, State
from zeotwisted.clientstorage.connection.target import Target, Wanted
from zeotwisted.clientstorage.records import Coherence
from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.reactor import OwnReactor

from ...models import effort
from ...ordering.puppets import INFO, MemoryReactor, PuppetServer

HOST = "127.0.0.1"
ports = st.sets(st.integers(1, 3), min_size=1).map(sorted)

#: Which states may follow each one besides CLOSED.
MAY_FOLLOW = {
    State.IDLE: {State.CONNECTING},
    State.CONNECTING: {State.CONNECTING, State.ESTABLISHING, State.PAUSING},
    State.ESTABLISHING: {State.READY, State.FALLBACK, State.PAUSING},
    State.READY: {State.PAUSING},
    State.FALLBACK: {State.FALLBACK, State.ESTABLISHING, State.PAUSING},
    State.PAUSING: {State.CONNECTING},
    State.CLOSED: set(),
}


class Watched(ClientConnection):
    """A connection whose changes of state are checked."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "state" and hasattr(self, "state"):
            assert value in MAY_FOLLOW[self.state] | {State.CLOSED}, (self.state, value)
            assert self.state is not State.CLOSED
        super().__setattr__(name, value)


class Owner:
    """The storage: it is told in turn that there is a connection, and that there is none."""

    def __init__(self) -> None:
        self.is_connected = False
        self.connected_to: Any = None

    def notify_connected(self, conn: Any, info: dict[str, Any]) -> None:
        # A connection may replace another one without a loss between them.
        self.is_connected, self.connected_to = True, conn

    def notify_disconnected(self) -> None:
        assert self.is_connected
        self.is_connected = False

    def info(self, dict: dict[str, Any]) -> None:
        raise AssertionError

    def receive_blob(self, name: str, args: tuple[Any, ...]) -> None:
        raise AssertionError


class Attempt:
    """A connection that the client has asked for, and its server after `accept`."""

    def __init__(self, reactor: MemoryReactor) -> None:
        self._asked_for = reactor.tcpClients.pop(0)
        self._connector = reactor.connectors.pop(0)
        self.port = self._asked_for[1]
        self.server: Any = None
        self.refused = self.lost = False
        #: Whether the server has accepted the client as one that writes, or as one that reads.
        self.registered: str | None = None
        #: Whether it has told the client all that it needs to begin.
        self.verified = False

    @property
    def is_asked_for(self) -> bool:
        return not (self.server or self.refused or self._connector.stoppedConnecting)

    @property
    def is_open(self) -> bool:
        return bool(self.server and not self.lost and not self.server.transport.disconnecting)

    @property
    def protocol(self) -> Any:
        """The client's end. Twisted's endpoint has wrapped it."""
        return self.server.protocol._wrappedProtocol

    def accept(self) -> None:
        reactor = SimpleNamespace(tcpClients=[self._asked_for])
        self.server = PuppetServer(SimpleNamespace(reactor=reactor))  # type: ignore[arg-type]

    def refuse(self) -> None:
        self.refused = True
        factory = self._asked_for[2]
        factory.clientConnectionFailed(self._connector, Failure(ConnectionRefusedError()))

    def lose(self) -> None:
        self.lost, self.verified = True, False
        self.server.lose()


class Connection(RuleBasedStateMachine):
    """In the model, the client may be used while one server has told it all and is not lost.

    The servers have the same storage, so each of them reports each commit.
    """

    @initialize(
        ports=ports,
        wanted=st.sampled_from([Wanted.EITHER, *Wanted]),
        served=st.lists(st.booleans(), max_size=3),
    )
    def begin(self, ports: list[int], wanted: Wanted, served: list[bool]) -> None:
        """Begin with some servers that answer; each takes changes, or does not."""
        self.reactor = MemoryReactor()
        self.reactor.running = True
        self.wanted = wanted
        target = Target(tuple((HOST, port) for port in ports), "1", wanted, liveness_timeout=0)
        ignored = lambda *_: None  # noqa: E731
        self.coherence = Coherence(ClientCache(), ignored, ignored)
        self.owner = Owner()
        self.connection: Any = Watched(
            OwnReactor(self.reactor), target, self.coherence, self.owner, "the client"
        )
        self.attempts: list[Attempt] = []
        self.tid = 10
        self.closed = False
        #: The ends of the waiters, and until when they wait.
        self.waiters: list[tuple[list[Any], float]] = []
        #: The calls of the application, and their ends.
        self.calls: list[list[Any]] = []
        self.connection.start()
        self.look()
        for takes_changes in served:
            for attempt in self.asked_for()[:1]:
                self.serves(attempt, takes_changes)
        self.reactor.pump([0.25] * 8)
        self.answer_all()

    # The servers.

    def look(self) -> None:
        """See what the client has asked for."""
        while self.reactor.tcpClients:
            self.attempts.append(Attempt(self.reactor))

    def asked_for(self) -> list[Attempt]:
        return [each for each in self.attempts if each.is_asked_for]

    def open(self) -> list[Attempt]:
        return [each for each in self.attempts if each.is_open]

    def answerable(self) -> list[Attempt]:
        return [each for each in self.open() if each.server.calls()]

    @precondition(lambda self: self.asked_for())
    @rule(data=st.data())
    def accept(self, data: Any) -> None:
        data.draw(st.sampled_from(self.asked_for())).accept()

    @precondition(lambda self: self.asked_for())
    @rule(data=st.data())
    def refuse(self, data: Any) -> None:
        data.draw(st.sampled_from(self.asked_for())).refuse()

    @precondition(lambda self: self.answerable())
    @rule(data=st.data(), takes_changes=st.booleans())
    def answer(self, data: Any, takes_changes: bool) -> None:
        """A server answers the first call that waits for an answer.

        :param takes_changes: whether it accepts a client that writes.
        """
        self.answer_first(data.draw(st.sampled_from(self.answerable())), takes_changes)

    @precondition(lambda self: self.asked_for())
    @rule(data=st.data(), takes_changes=st.booleans())
    def serve(self, data: Any, takes_changes: bool) -> None:
        """A server accepts a connection, and answers whatever is called."""
        self.serves(data.draw(st.sampled_from(self.asked_for())), takes_changes)

    def answer_all(self) -> None:
        for attempt in self.open():
            while attempt.is_open and attempt.server.calls():
                self.answer_first(attempt, True)

    def serves(self, attempt: Attempt, takes_changes: bool) -> None:
        attempt.accept()
        while attempt.is_open and attempt.server.calls():
            self.answer_first(attempt, takes_changes)

    def answer_first(self, attempt: Attempt, takes_changes: bool) -> None:
        server = attempt.server
        name = server.calls()[0]
        call = server.next(name)
        if name == "register":
            reads = call.args[1]
            if not reads and not takes_changes:
                server.deliver(server.refusal(call, ReadOnlyError("it is read-only")))
                return
            attempt.registered = "reads" if reads else "writes"
            if not reads:
                # It replaces one that was only better than none.
                for other in self.attempts:
                    other.verified = False
            answer = p64(self.tid)
        elif name == "get_info":
            attempt.verified = True
            answer = INFO
        elif name == "getInvalidations":
            answer = p64(self.tid), b""
        else:
            assert name == "ping"
            answer = None
        server.deliver(server.answer(call, answer))

    @precondition(lambda self: self.open())
    @rule(data=st.data())
    def lose(self, data: Any) -> None:
        data.draw(st.sampled_from(self.open())).lose()

    @rule()
    def commit(self) -> None:
        """Another client commits, and the servers report it to all that have registered."""
        self.tid += 1
        for attempt in self.open():
            if attempt.registered and attempt.is_open:
                server = attempt.server
                server.deliver(server.says("invalidateTransaction", p64(self.tid), ()))

    # The application.

    @rule(timeout=st.integers(1, 20))
    def wait(self, timeout: int) -> None:
        ends: list[Any] = []
        self.waiters.append((ends, self.reactor.seconds() + timeout))
        self.connection.when_ready(timeout).addBoth(ends.append)

    @precondition(lambda self: self.connection.ready)
    @rule()
    def call(self) -> None:
        ends: list[Any] = []
        self.calls.append(ends)
        self.connection.ready.request("ping").addBoth(ends.append)

    @rule(seconds=st.sampled_from([0.25, 1, 6, 40]))
    def time_passes(self, seconds: float) -> None:
        self.reactor.pump([0.25] * int(seconds * 4))

    @precondition(lambda self: not self.closed)
    @rule(ports=ports)
    def new_addresses(self, ports: list[int]) -> None:
        self.look()
        state = self.connection.state
        self.connection.new_addresses([(HOST, port) for port in ports])
        self.look()
        if state in (State.CONNECTING, State.PAUSING, State.FALLBACK):
            assert sorted(each.port for each in self.asked_for()) == ports

    @precondition(lambda self: len(self.attempts) > 3)
    @rule()
    def close(self) -> None:
        self.connection.close()
        self.closed = True
        for attempt in self.attempts:
            attempt.verified = False

    # What has to hold.

    @invariant()
    def is_usable_as_the_model_says(self) -> None:
        self.look()
        usable = [each.protocol for each in self.attempts if each.verified]
        assert len(usable) <= 1
        connection = self.connection
        assert connection.ready is (usable[0] if usable else None), (connection.state, usable)
        assert (connection.state in USABLE) == bool(usable)
        if usable:
            assert usable[0] is self.owner.connected_to and self.owner.is_connected
            assert self.coherence.last_transaction() == p64(self.tid)
        (kind,) = {each.registered for each in self.attempts if each.verified} or {None}
        is_makeshift = kind == "reads" and self.wanted is Wanted.EITHER
        assert (connection.state is State.FALLBACK) == is_makeshift

    @invariant()
    def goes_on(self) -> None:
        """There is always something that it waits for; nothing when it is not needed."""
        self.look()
        state, timers = self.connection.state, self.reactor.getDelayedCalls()
        waits_for_servers = bool(self.asked_for() or self.open())
        if state in (State.READY, State.CLOSED):
            assert not self.asked_for()
            assert len(self.open()) == (state is State.READY)
        elif state is State.PAUSING:
            assert timers and not waits_for_servers
        elif state in (State.CONNECTING, State.ESTABLISHING):
            assert waits_for_servers
        assert (state is State.CLOSED) == self.closed
        assert not (self.closed and timers), "a delayed call is left"

    @invariant()
    def all_are_answered(self) -> None:
        now, ready = self.reactor.seconds(), self.connection.ready
        for ends, until in list(self.waiters):
            if not ends:
                assert ready is None and now < until and not self.closed
                continue
            (end,) = ends
            if isinstance(end, Failure):
                end.trap(ClientDisconnected)
                assert now >= until or self.closed
            else:
                assert end in [each.protocol for each in self.attempts if each.server]
            self.waiters.remove((ends, until))
        for ends in self.calls:
            assert ends or self.open(), "nobody will answer this call"

    def teardown(self) -> None:
        if not hasattr(self, "connection"):
            return
        self.close()
        self.is_usable_as_the_model_says()
        self.goes_on()
        self.all_are_answered()
        for attempt in self.attempts:
            if attempt.server and not attempt.lost:
                attempt.lose()
        assert not self.reactor.getDelayedCalls() and not self.connection._open
        for ends in self.calls:
            if isinstance(ends[0], Failure):
                ends[0].trap(ClientDisconnected)


Connection.TestCase.settings = effort(80, 50)
TestConnection = Connection.TestCase
