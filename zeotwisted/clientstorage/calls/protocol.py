"""The client's end of a connection: sends calls, receives answers and invalidations.

Messages are processed in the order of the wire, each one completely: the callbacks of an answer
have run before the next message is processed.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from zeotwisted.exceptions import ClientDisconnected, ClientStorageError, ProtocolError
from zeotwisted.protocol import (
    DEFAULT_LIMIT,
    EXTENDED,
    MARK_AT_VOTE,
    OPERATORS,
    SHARED,
    TID_AT_VOTE,
    VOTE_WITHIN,
    Called,
    Capabilities,
    ClientHandshake,
    EncodeError,
    Event,
    Failed,
    FrameTooLarge,
    HandshakeDone,
    Replied,
    Session,
    WireError,
)
from zeotwisted.reactor import ReactorAccess
from zeotwisted.transport import (
    Liveness,
    Manners,
    ReadSize,
    bottom,
    direct_sender,
    handshake_error,
    set_tcp_options,
)

from .calls import Calls
from .leading import INTERRUPTED, Leading
from .outbox import Outbox
from .reading import Reading, reading
from .traffic import Traffic
from .waiter import Answer, Waiter

__all__ = ["ClientProtocol", "Push"]

_log = logging.getLogger("zeotwisted.client")

#: Receives the calls that the server makes: their names and arguments.
Push = Callable[[str, tuple[Any, ...]], None]

#: How often (seconds) to send a keep-alive message. ZEO's servers need it no more often.
_KEEP_ALIVE_INTERVAL = 60.0

#: How long (seconds) `give_up` waits for the reactor's thread to close the connection.
_GIVE_UP_TIMEOUT = 5.0

#: How many characters of a server's reason to end the connection are kept.
_LONGEST_REASON = 500

_T = TypeVar("_T")


class ClientProtocol(protocol.Protocol):
    """One connection to one server.

    The methods for calls may be used in any thread. Everything else belongs to the reactor's.

    :param access: the reactor.
    :param push: receives the calls that the server makes.
    :param limit: the longest message to accept, in bytes.
    :param liveness_timeout: the longest silence of the server, in seconds; 0 for any.
    :param traffic: counts what goes over the connection.
    :ivar ready: fires when the handshake is done; fails if the connection ends before that.
    :ivar lost: fires with the reason (an exception) when the connection has ended.
    :ivar read_only: whether the client has registered as a reader.
    :ivar capabilities: what both ends have agreed on, see `zeotwisted.protocol.capabilities`.
    """

    def __init__(
        self,
        access: ReactorAccess,
        push: Push,
        limit: int = DEFAULT_LIMIT,
        liveness_timeout: float = 0.0,
        traffic: Traffic | None = None,
    ) -> None:
        self.ready: Deferred[None] = Deferred()
        self.lost: Deferred[Exception] = Deferred()
        self.read_only = False
        self.capabilities: Capabilities = {}
        self._clock = access.reactor
        self._is_reactor_thread = access.is_current
        self._push = push
        self._session = Session(ClientHandshake(), limit)
        self._call_from_thread = access.reactor.callFromThread
        self._traffic = traffic or Traffic()
        self._ids = itertools.count(1)
        self._calls = Calls()
        # None if only the reactor reads.
        self._reading: Reading | None = None
        self._keep_alive: IDelayedCall | None = None
        self._liveness_timeout = liveness_timeout
        self._liveness: Liveness | None = None
        self._shaking_hands = True

    @property
    def version(self) -> bytes:
        """Encoding and version of the protocol, for example ``b"M6"``."""
        return self._session.protocol

    @property
    def is_extended(self) -> bool:
        """Whether the connection uses version 6 of the protocol, which ZEO does not have."""
        return self.version[1:] == EXTENDED

    @property
    def tells_tids(self) -> bool:
        """Whether the server answers a vote with the tid of the transaction.

        It can then report the outcome of a transaction (``tpc_outcome``).
        """
        return TID_AT_VOTE in self.capabilities

    @property
    def tells_marks(self) -> bool:
        """Whether the server answers a vote with a mark of the transaction.

        Any server of the same database can then report the outcome (``tpc_committed``).
        """
        return MARK_AT_VOTE in self.capabilities

    @property
    def is_shared(self) -> bool:
        """Whether other servers, or other processes, commit in the same database."""
        return SHARED in self.capabilities

    @property
    def database(self) -> str | None:
        """What tells the server's database from others; None if the server does not say."""
        name = self.capabilities.get(SHARED, {}).get("database")
        return name if isinstance(name, str) else None

    @property
    def limits_votes(self) -> bool:
        """Whether a vote can say how long it waits for the commit lock."""
        return VOTE_WITHIN in self.capabilities

    @property
    def is_steered(self) -> bool:
        """Whether the server has the calls for operators."""
        return OPERATORS in self.capabilities

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._calls.is_open

    @property
    def outstanding(self) -> int:
        """How many calls wait for their answers."""
        return len(self._calls)

    @property
    def connected_to(self) -> Any:
        """The address of the server."""
        assert self.transport is not None
        return self.transport.getPeer()

    # Calls, in any thread.

    def call(self, answer: Deferred[Any] | Answer, name: str, *args: Any) -> None:
        """Call the server; `answer` receives the answer.

        Callbacks must be added before: the answer may come at once, in another thread.

        :raises ClientDisconnected: the connection is lost.
        :raises ClientStorageError: the arguments cannot be sent.
        """
        id = next(self._ids)
        self._send(id, answer, self._encode(self._session.call, id, name, *args))

    def _send(self, id: int, answer: Deferred[Any] | Answer, frame: bytes) -> None:
        self._calls.expect(id, answer)
        self._traffic.round_trips += 1
        self._traffic.bytes_sent += len(frame)
        self._outbox.append(frame)

    def call_all(
        self, name: str, calls: Sequence[tuple[Deferred[Any] | Answer, tuple[Any, ...]]]
    ) -> None:
        """Make a call for each pair of an answer and arguments, in one write.

        If this raises an exception, as `call` does, no call is made.
        """
        ids = list(itertools.islice(self._ids, len(calls)))
        frames = [
            self._encode(self._session.call, id, name, *args)
            for id, (_, args) in zip(ids, calls, strict=True)
        ]
        self._calls.expect_all(ids, [answer for answer, _ in calls])
        joined = b"".join(frames)
        self._traffic.round_trips += len(calls)
        self._traffic.bytes_sent += len(joined)
        self._outbox.append(joined)

    def ask(self, waiter: Waiter, name: str, *args: Any, timeout: float = -1.0) -> Any:
        """Call the server; return the answer, or raise it if it is an exception.

        :param timeout: how long (seconds) to wait; for ever if it is negative.
        :raises TimeoutError: there was no answer in time.
        :raises ClientStorageError: this call would deadlock; see `check_may_wait`.
        """
        self.check_may_wait(name)
        self.call(waiter, name, *args)
        if timeout < 0:
            return self.wait(waiter)
        return waiter.wait(timeout)

    def load(self, waiter: Waiter, oid: bytes, tid: bytes) -> Any:
        """Do what ``ask(waiter, "loadBefore", oid, tid)`` does, with less overhead."""
        self.check_may_wait("loadBefore")
        id = next(self._ids)
        self._send(id, waiter, self._encode(self._session.load, id, oid, tid))
        return self._leading.wait(waiter)

    def wait(self, waiter: Waiter) -> Any:
        """Wait for an answer; return it, or raise it if it is an exception."""
        return self._leading.wait(waiter)

    def call_and_wait(self, deferred: Deferred[Any], name: str, *args: Any) -> Any:
        """Do what `ask` does, but run the callbacks of `deferred` in the reactor's thread."""
        self.check_may_wait(name)
        waiter = Waiter()
        waiter.follow(deferred)
        self.call(deferred, name, *args)
        return waiter.wait()

    def check_may_wait(self, name: str) -> None:
        """Check that this thread may wait for an answer.

        :raises ClientStorageError: it would deadlock: it is the reactor's thread, or it is
            processing another answer.
        """
        dealing = self._leading.dealing
        if dealing is not None and dealing == threading.get_ident():
            raise ClientStorageError(f"{name} would wait for ever: this answers another call")
        if self._calls.is_open and self._is_reactor_thread():
            raise ClientStorageError(
                f"{name} would wait for ever in the reactor's own thread; call it in another one, "
                "for example with deferToThread"
            )

    def give_up(self, reason: Exception) -> None:
        """Close the connection from any thread; return when it is closed."""
        if self._is_reactor_thread():
            self.close(reason)
            return
        done = threading.Event()
        self._call_from_thread(self.close, reason)
        self._call_from_thread(done.set)
        # A reactor that has stopped has closed its connections, and does not run these calls.
        done.wait(_GIVE_UP_TIMEOUT)

    def request(self, name: str, *args: Any) -> Deferred[Any]:
        """Call the server, in the reactor's thread; return a Deferred of the answer."""
        answer: Deferred[Any] = Deferred()
        try:
            self.call(answer, name, *args)
        except ClientDisconnected:
            answer.errback()
        return answer

    def oneway(self, name: str, *args: Any, hold_back: bool = False) -> None:
        """Make a call that has no answer. Raises as `call` does.

        It blocks while more than 2 MiB are queued. It does not block in the reactor's thread, which
        empties the queue.

        :param hold_back: another call follows soon; the frame may wait and leave with it.
        """
        frame = self._encode(self._session.oneway, name, *args)
        self._outbox.wait_for_room()
        self._calls.check_open()
        self._traffic.bytes_sent += len(frame)
        self._outbox.append(frame, hold_back)

    def oneway_long(self, name: str, *args: Any) -> None:
        """Do what `oneway` does for long arguments, without copying them.

        If possible, the calling thread sends them itself, and waits for the socket.
        """
        pieces = self._encode(self._session.oneway_pieces, name, *args)
        self._outbox.wait_for_room()
        self._calls.check_open()
        self._traffic.bytes_sent += sum(map(len, pieces))
        self._outbox.append_long(pieces)

    @staticmethod
    def _encode(encode: Callable[..., _T], *args: Any) -> _T:
        try:
            return encode(*args)
        except (EncodeError, FrameTooLarge) as error:
            raise ClientStorageError(f"this cannot be sent to the server: {error}")

    # The reactor's thread.

    def registered(self) -> None:
        """The server has accepted the registration: it may make any call now."""
        self._session.registered()
        # Not earlier: before the registration, the client must not send a ping.
        if self._liveness_timeout and self._calls.is_open:
            self._liveness = Liveness(
                self._clock,
                self._liveness_timeout,
                Manners.PROMPT if self.version[1:] == EXTENDED else Manners.BUSY,
                lambda: bool(self._calls) or self._outbox.waits,
                lambda: self._outbox.progress,
                self._probe,
                self._silent,
            )
            self._leading.silence = self._liveness.silence

    def _probe(self) -> None:
        answer = self.request("ping")
        # Any answer shows that the server is alive. A loss of the connection is handled elsewhere.
        answer.addErrback(lambda failure: None)

    def _silent(self, seconds: float) -> None:
        self.close(
            ClientDisconnected(
                f"nothing was heard from the server for {seconds:.3g} seconds "
                f"(liveness_timeout is {self._liveness_timeout:g})"
            )
        )

    def when_idle(self) -> Deferred[None]:
        """Return a Deferred that fires as soon as no answer is outstanding."""
        return self._calls.when_idle()

    def close(self, reason: Exception) -> None:
        """Close the connection; calls that wait for an answer fail with `ClientDisconnected`.

        :param reason: its text is the text of that exception.
        """
        if not self._calls.is_open:
            return
        self._fail(reason)
        transport: Any = self.transport
        if transport is not None:
            self._outbox.close()
            self._stop_reading()
            transport.abortConnection()

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()

    def abandon(self) -> None:
        """After fork: close the child's copies of the descriptors, and send nothing."""
        self._calls.abandon()
        self._leading.abandon()
        self._outbox.abandon()
        if self._reading is not None:
            self._reading.abandon()
        # None: the connection is lost already.
        handle = getattr(bottom(self.transport), "socket", None)
        if handle is not None:
            handle.close()

    def connectionMade(self) -> None:
        transport = self.transport
        self._read_size = ReadSize(transport)
        self._outbox = Outbox(
            transport,
            direct_sender(transport),
            self._call_from_thread,
            self._is_reactor_thread,
        )
        set_tcp_options(transport, self._liveness_timeout)
        self._reading = reading(transport, self._clock)
        self._leading = Leading(
            self._session,
            self._calls,
            self._reading,
            self._hand_over,
            self._push,
            self._interrupted,
            self._traffic,
        )

    def dataReceived(self, data: bytes) -> None:
        self._read_size.received(len(data))
        self._traffic.bytes_received += len(data)
        if self._liveness is not None:
            self._liveness.silence.heard = True
        self._process(self._session.receive(data))

    def _hand_over(self, reading: Reading, events: Iterable[Event]) -> None:
        self._call_from_thread(self._take_over, reading, events)

    def _interrupted(self) -> None:
        self._call_from_thread(self.close, ClientDisconnected("interrupted"))

    def _take_over(self, reading: Reading, events: Iterable[Event]) -> None:
        """Process what a leading thread has read and left to the reactor."""
        try:
            if events is INTERRUPTED:
                self.close(ClientDisconnected("interrupted while an answer was read"))
            else:
                self._process(events)
        finally:
            reading.end()

    def _process(self, events: Iterable[Event]) -> None:
        try:
            for event in events:
                if not self._calls.is_open:
                    return
                self._handle(event)
            self._calls.check_idle()
        except WireError as error:
            self.close(ProtocolError(str(error)))
        except Exception as error:
            # The client may have missed an invalidation. The next connection verifies the cache.
            _log.exception("processing a message from the server failed; reconnecting")
            self.close(ClientDisconnected(f"processing a message failed: {error!r}"))

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._outbox.close()
        self._stop_reading()
        refused = handshake_error(reason.value, False) if self._shaking_hands else None
        self._fail(refused or ClientDisconnected(f"connection lost: {reason.getErrorMessage()}"))

    def _handle(self, event: Event) -> None:
        kind = type(event)
        if kind is Replied:
            self._calls.take(event.id).callback(event.value)  # type: ignore[union-attr]
        elif kind is Failed:
            self._calls.take(event.id).errback(event.error)  # type: ignore[union-attr, arg-type]
        elif kind is Called:
            self._called(event)  # type: ignore[arg-type]
        elif kind is HandshakeDone:
            self._outbox.append(self._session.greeting)
            self._beat()
            self._shaking_hands = False
            self.ready.callback(None)

    def _called(self, event: Called) -> None:
        if event.error is not None:
            raise WireError(str(event.error))
        if event.id is not None:
            raise WireError(f"the server waits for an answer to {event.call.name}")
        if event.call.name == "ping":
            self._outbox.append(self._session.keep_alive())
            return
        if event.call.name == "dropped":
            reason = event.args[0][:_LONGEST_REASON]
            self.close(ClientDisconnected(f"the server has ended the connection: {reason}"))
            return
        self._push(event.call.name, event.args)

    def _beat(self) -> None:
        self._keep_alive = self._clock.callLater(_KEEP_ALIVE_INTERVAL, self._beat)
        if not self._shaking_hands:
            self._outbox.append(self._session.keep_alive())

    def _fail(self, reason: Exception) -> None:
        with self._leading.turn:
            unanswered = self._calls.lose(reason)
            # It may contain a part of a message.
            self._session.close()
        if unanswered is None:
            return
        if self._keep_alive is not None:
            self._keep_alive.cancel()
            self._keep_alive = None
        if self._liveness is not None:
            self._liveness.stop()
            self._liveness = None
        if self._shaking_hands:
            self._shaking_hands = False
            self.ready.errback(reason)
        # Before the answers fail: a caller that repeats its call must wait for the next connection,
        # and not use this one.
        self.lost.callback(reason)
        for answer in unanswered:
            answer.errback(ClientDisconnected(str(reason)))
        self._calls.check_idle()
