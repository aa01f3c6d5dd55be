"""The client's end of a connection: calls go out, answers and news come in.

Messages are dealt with strictly in the order of the wire, each one to its end: the callbacks of an
answer have run before the next message is looked at.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from zeotwisted.exceptions import ClientDisconnected, ClientStorageError, ProtocolError
from zeotwisted.protocol import (
    DEFAULT_LIMIT,
    EXTENDED,
    Called,
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
from .waiter import Answer, Waiter

__all__ = ["ClientProtocol", "Push"]

_log = logging.getLogger("zeotwisted.client")

#: Receives the calls that the server makes: their names and arguments.
Push = Callable[[str, tuple[Any, ...]], None]

#: How often (seconds) to say that somebody is there; ZEO's servers expect no more.
_KEEP_ALIVE_INTERVAL = 60.0

#: How long (seconds) the reactor's thread may take to end a connection.
_GIVE_UP_TIMEOUT = 5.0

_T = TypeVar("_T")


class ClientProtocol(protocol.Protocol):
    """One connection to one server.

    `call` and `oneway` may be used in any thread, everything else belongs to the reactor's.

    :param clock: the reactor.
    :param call_from_thread: runs a function in the reactor's thread; may be called in any.
    :param is_reactor_thread: whether the caller is the reactor's thread.
    :param push: receives what the server says on its own.
    :param limit: the longest message to accept, in bytes.
    :param liveness_timeout: the longest silence of the server, in seconds; 0 for any.
    :ivar ready: fires when the handshake is done; fails if there will be none.
    :ivar lost: fires with the reason (an exception) when the connection has ended.
    :ivar read_only: whether we have registered as a reader.
    :ivar tells_tids: whether the server tells the tid of each transaction with the vote, and knows
        what becomes of it.
    """

    def __init__(
        self,
        clock: IReactorTime,
        call_from_thread: Callable[..., Any],
        is_reactor_thread: Callable[[], bool],
        push: Push,
        limit: int = DEFAULT_LIMIT,
        liveness_timeout: float = 0.0,
    ) -> None:
        self.ready: Deferred[None] = Deferred()
        self.lost: Deferred[Exception] = Deferred()
        self.read_only = False
        self.tells_tids = False
        self._clock = clock
        self._is_reactor_thread = is_reactor_thread
        self._push = push
        self._session = Session(ClientHandshake(), limit)
        self._call_from_thread = call_from_thread
        self._ids = itertools.count(1)
        self._calls = Calls()
        # None where only the reactor reads.
        self._reading: Reading | None = None
        self._keep_alive: IDelayedCall | None = None
        self._liveness_timeout = liveness_timeout
        self._liveness: Liveness | None = None
        self._shaking_hands = True

    @property
    def version(self) -> bytes:
        """The encoding and version that were agreed upon, for example ``b"M6"``."""
        return self._session.protocol

    @property
    def is_extended(self) -> bool:
        """Whether the server is one of ours, too."""
        return self.version[1:] == EXTENDED

    @property
    def is_open(self) -> bool:
        """Whether calls can be made."""
        return self._calls.is_open

    @property
    def connected_to(self) -> Any:
        """The address of the server's end."""
        assert self.transport is not None
        return self.transport.getPeer()

    # Calls, in any thread.

    def call(self, answer: Deferred[Any] | Answer, name: str, *args: Any) -> None:
        """Call the server; `answer`, to which callbacks were added before, gets the answer.

        :raises ClientDisconnected: there is no connection any more.
        :raises ClientStorageError: the arguments cannot be sent.
        """
        id = next(self._ids)
        self._send(id, answer, self._encode(self._session.call, id, name, *args))

    def _send(self, id: int, answer: Deferred[Any] | Answer, frame: bytes) -> None:
        self._calls.expect(id, answer)
        self._outbox.append(frame)

    def call_all(
        self, name: str, calls: Sequence[tuple[Deferred[Any] | Answer, tuple[Any, ...]]]
    ) -> None:
        """Call the server as `call` does, for each pair of an answer and arguments, or for none.

        The calls leave together.
        """
        ids = list(itertools.islice(self._ids, len(calls)))
        frames = [
            self._encode(self._session.call, id, name, *args)
            for id, (_, args) in zip(ids, calls, strict=True)
        ]
        self._calls.expect_all(ids, [answer for answer, _ in calls])
        self._outbox.append(b"".join(frames))

    def ask(self, waiter: Waiter, name: str, *args: Any, timeout: float = -1.0) -> Any:
        """Call the server as `call` does; return the answer, or raise what it is.

        :param timeout: how long (seconds) to wait; for ever if it is negative.
        :raises TimeoutError: that was too short.
        :raises ClientStorageError: this is the thread that the answer would come in.
        """
        self.check_may_wait(name)
        self.call(waiter, name, *args)
        if timeout < 0:
            return self.wait(waiter)
        return waiter.wait(timeout)

    def load(self, waiter: Waiter, oid: bytes, tid: bytes) -> Any:
        """Do what ``ask(waiter, "loadBefore", oid, tid)`` does, as fast as possible."""
        self.check_may_wait("loadBefore")
        id = next(self._ids)
        self._send(id, waiter, self._encode(self._session.load, id, oid, tid))
        return self._leading.wait(waiter)

    def wait(self, waiter: Waiter) -> Any:
        """Wait for an answer; return it, or raise what it is."""
        return self._leading.wait(waiter)

    def call_and_wait(self, deferred: Deferred[Any], name: str, *args: Any) -> Any:
        """Do what `ask` does where the callbacks of the answer belong to the reactor's thread."""
        self.check_may_wait(name)
        waiter = Waiter()
        waiter.follow(deferred)
        self.call(deferred, name, *args)
        return waiter.wait()

    def check_may_wait(self, name: str) -> None:
        """Check that this thread may wait for what the server says.

        :raises ClientStorageError: it is the reactor's.
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
        """End the connection, as `close` does; in any thread. Return when it is done."""
        if self._is_reactor_thread():
            self.close(reason)
            return
        done = threading.Event()
        self._call_from_thread(self.close, reason)
        self._call_from_thread(done.set)
        # A reactor that has stopped has ended its connections, and answers nobody.
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
        """Call the server without waiting for an answer. Raises as `call` does.

        It waits while several MiB are queued that the server has not taken yet; not in the
        reactor's thread, which is the one that sends them.

        :param hold_back: another call follows soon, and they may leave together.
        """
        frame = self._encode(self._session.oneway, name, *args)
        self._outbox.wait_for_room()
        self._calls.check_open()
        self._outbox.append(frame, hold_back)

    def oneway_long(self, name: str, *args: Any) -> None:
        """Do what `oneway` does, with arguments that are too long to be copied for nothing.

        This thread sends them, if it can, and waits until the server has taken them.
        """
        pieces = self._encode(self._session.oneway_pieces, name, *args)
        self._outbox.wait_for_room()
        self._calls.check_open()
        self._outbox.append_long(pieces)

    @staticmethod
    def _encode(encode: Callable[..., _T], *args: Any) -> _T:
        try:
            return encode(*args)
        except (EncodeError, FrameTooLarge) as error:
            raise ClientStorageError(f"this cannot be sent to the server: {error}")

    # The reactor's thread.

    def registered(self) -> None:
        """The server has accepted us: it may say anything now."""
        self._session.registered()
        # Before, the server may not be asked whether it is there.
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
        # Whatever it says, it is there; and of the end of the connection others tell.
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
        """End the connection; calls that wait for an answer fail with `reason`."""
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
        """In a child process: close our copy of the socket, and nothing else."""
        self._calls.abandon()
        self._leading.abandon()
        self._outbox.abandon()
        if self._reading is not None:
            self._reading.abandon()
        # A transport whose connection is lost has no socket any more.
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
        )

    def dataReceived(self, data: bytes) -> None:
        self._read_size.received(len(data))
        if self._liveness is not None:
            self._liveness.silence.heard = True
        self._process(self._session.receive(data))

    def _hand_over(self, reading: Reading, events: Iterable[Event]) -> None:
        self._call_from_thread(self._take_over, reading, events)

    def _interrupted(self) -> None:
        self._call_from_thread(self.close, ClientDisconnected("interrupted"))

    def _take_over(self, reading: Reading, events: Iterable[Event]) -> None:
        """Go on where a thread that has led could not."""
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
            # Whatever it was, this client cannot know any more what it missed.
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
        self._push(event.call.name, event.args)

    def _beat(self) -> None:
        self._keep_alive = self._clock.callLater(_KEEP_ALIVE_INTERVAL, self._beat)
        if not self._shaking_hands:
            self._outbox.append(self._session.keep_alive())

    def _fail(self, reason: Exception) -> None:
        with self._leading.turn:
            unanswered = self._calls.lose(reason)
            # The rest of a message will not come.
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
        # First, so that a call that fails below and is made again waits for the next connection.
        self.lost.callback(reason)
        for answer in unanswered:
            answer.errback(ClientDisconnected(str(reason)))
        self._calls.check_idle()
