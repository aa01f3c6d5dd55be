"""The server's end of a connection. Only this module and `backlog` use the transport."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from enum import Enum
from functools import partial
from itertools import chain
from time import perf_counter
from typing import Any

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from zeotwisted.access import OPEN, Access, Identity
from zeotwisted.protocol import (
    DROPPED,
    EXTENDED,
    Broadcast,
    Called,
    Event,
    Failed,
    FrameTooLarge,
    Replied,
    ServerHandshake,
    Session,
    StatusRequested,
    WireError,
    encode_frame,
)
from zeotwisted.transport import (
    Liveness,
    Manners,
    ReadSize,
    handshake_error,
    own_certificate,
    set_tcp_options,
    unsent,
)

from ..figures import ConnectionReport, ConnectionState
from ..floods import Kind, brief
from ..limits import Shares, host_of
from .answering import Answering
from .backlog import Backlog
from .clients import Clients
from .connection import ServerConnection
from .proof import peer_identity
from .reporting import Flow, connection_report

__all__ = ["StorageServerProtocol"]

#: The shortest limit (seconds) for the silence of a client of version 5. Such a client does not
#: answer a ping, but it sends a keep-alive each minute.
_RETICENT_TIMEOUT = 150.0

#: How long (seconds) the server handles the messages of one client before it handles those of other
#: clients: one read may return thousands of short messages. Clients that have messages left share
#: this time. Each of them gets at least the second number of seconds.
_TURN = 0.02
_SHORTEST_TURN = 0.001


class _Hold(Enum):
    """Why the server does not read from a client."""

    BACKLOG = "it does not take what it is sent"
    CALLS = "many of its calls are under way"


class StorageServerProtocol(protocol.Protocol):
    """Reads calls in the order of the wire, and writes answers and broadcasts in one order."""

    _log = Logger()

    def __init__(self, clients: Clients, address: IAddress | None, access: Access = OPEN) -> None:
        self._clients = clients
        self.label = _label(address)
        #: The address of the client, without the port.
        self.host = host_of(address)
        #: Returns whether to write one more log line of a kind; see `Floods.admit`.
        self.admit: Callable[..., bool] = partial(clients.floods.admit, host=self.host)
        options = clients.options
        self._session = Session(
            ServerHandshake(options.msgpack, options.protocol_limit >= 6), options.message_limit
        )
        self._connection = ServerConnection(
            self, clients.storages, clients.logins, access, clients.figures, clients
        )
        self._since = perf_counter()
        # Since when the client takes nothing; None while it does.
        self._stuck_since: float | None = None
        #: See `peer.Peer`.
        self.number = 0
        self._deadline: IDelayedCall | None = None
        self._liveness: Liveness | None = None
        self._lost = False
        self._registered = False
        # How many bytes were received before the registration.
        self._early_bytes = 0
        # Whether the end of the connection is logged already, or is not to be logged.
        self._end_is_told = False
        # Fires when all that the client held is released; None while the client may use it.
        self._released: Deferred[None] | None = None
        # The messages that were read and are not handled yet. They wait until `_holds` is empty and
        # other clients have had their turn. The server does not read from the client meanwhile.
        self._put_off: Iterator[Event] | None = None
        self._holds: set[_Hold] = set()

    # The methods that the transport calls.

    def connectionMade(self) -> None:
        transport: Any = self.transport
        set_tcp_options(transport, self._clients.options.client_timeout or 0.0)
        self._read_size = ReadSize(transport)
        self._backlog = Backlog(
            transport,
            partial(self._hold, _Hold.BACKLOG),
            partial(self._let_go, _Hold.BACKLOG),
            self.drop,
            self._held_back,
            drop_at=self._clients.options.send_limit,
        )
        self._answering = Answering(
            self,
            self._connection,
            self._session,
            self._backlog,
            self._clients.figures.calls,
            self._clients.options.call_limit,
            self._clients.limits.calls,
            partial(self._hold, _Hold.CALLS),
            partial(self._let_go, _Hold.CALLS),
        )
        timeout = self._clients.options.register_timeout
        self._deadline = self._clients.clock.callLater(
            timeout,
            self.drop,
            f"it has not registered for a storage within {timeout:g} seconds (register-timeout)",
        )
        self.number = self._clients.connected(self)
        self._clients.limits.admission.entered(self)
        self._backlog.write(self._session.greeting)

    def dataReceived(self, data: bytes) -> None:
        self._read_size.received(len(data))
        if self._liveness is not None:
            self._liveness.silence.heard = True
        if self._holds or self._put_off is not None:
            # A transport may deliver data that it had read before it was paused.
            self._put_off = chain(self._put_off or (), self._session.receive(data))
            return
        try:
            alone = self._session.receive_alone(data)
            if alone is None:
                # There may be many messages. Send their answers together.
                self._backlog.hold()
                self._deal_with(self._session.receive(data))
                self._count_received(len(data))
            else:
                for event in alone:
                    self._deal_with_one(event)
                if not self._lost:
                    self._backlog.flush()
        except Exception as error:
            self._end(error)

    def _count_received(self, size: int) -> None:
        """Count what is in memory, or has come too early, after `size` more bytes."""
        if self._lost:
            return
        self._hold_bytes(self._clients.limits.messages, self._session.incomplete)
        if self._registered:
            return
        self._early_bytes += size
        most = self._clients.options.register_bytes
        if self._early_bytes > most:
            self.drop(
                f"it has sent more than {most} bytes, and has not registered for a storage"
                " (register-bytes)"
            )

    def _hold_bytes(self, shares: Shares[StorageServerProtocol], size: int) -> None:
        greediest = shares.hold(self, size)
        if greediest is not None:
            budget = shares.budget
            greediest.drop(
                f"clients hold more than {budget.most} bytes in the server's memory, and it holds"
                f" the most of them ({budget.key})"
            )

    def _held_back(self, size: int) -> None:
        """The backlog has `size` bytes that the client's socket has not accepted."""
        if self._lost:
            return
        if not size:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = perf_counter()
        self._hold_bytes(self._clients.limits.unsent, size)

    def _free_bytes(self) -> None:
        self._clients.limits.messages.hold(self, 0)
        self._clients.limits.unsent.hold(self, 0)

    def _deal_with(self, events: Iterator[Event]) -> None:
        seconds = self._clients.clock.seconds
        end = seconds() + max(_TURN / (1 + len(self._clients.rounds)), _SHORTEST_TURN)
        for event in events:
            self._deal_with_one(event)
            if self._lost:
                return
            if self._holds:
                self._put_off = events
                break
            if seconds() > end:
                self._put_off = events
                self._stop_reading()
                self._clients.rounds.add(self)
                break
        self._backlog.flush()

    def _deal_with_one(self, event: Event) -> None:
        if type(event) is Called:
            self._answering.called(event)
        else:
            self._handle(event)

    def _end(self, error: Exception) -> None:
        if isinstance(error, WireError):
            # The other end may be another kind of program. What was written, such as the greeting,
            # may help it to report that.
            self._backlog.flush()
            too_long = isinstance(error.__cause__, FrameTooLarge) and self._registered
            self.drop(f"{error} (message-limit)" if too_long else str(error))
        else:
            if self.admit(Kind.CALL):
                self._log.failure("({label}) internal error", label=self._connection.label)
            self.drop("internal error")

    def _stop_reading(self) -> None:
        transport: Any = self.transport
        transport.pauseProducing()

    def _hold(self, why: _Hold) -> None:
        self._holds.add(why)
        self._stop_reading()

    def _let_go(self, why: _Hold) -> None:
        self._holds.discard(why)
        if not self._holds and not self._lost:
            self._read_on()

    def _read_on(self) -> None:
        if self._put_off is None:
            transport: Any = self.transport
            transport.resumeProducing()
        else:
            # Not at once: the caller may have written only a part of its messages.
            self._clients.rounds.add(self)

    def go_on(self) -> None:
        """See `rounds.Waiting`: handle messages that were put off."""
        if self._holds or self._lost or self._put_off is None:
            return
        events, self._put_off = self._put_off, None
        try:
            self._backlog.hold()
            self._deal_with(events)
            self._count_received(0)
        except Exception as error:
            self._end(error)
        if not self._holds and not self._lost:
            self._read_on()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._clients.partings.over(self)
        self._stop()
        self._clients.limits.admission.left(self, self._registered)
        refused = handshake_error(reason.value, True)
        if refused is not None and self.admit(Kind.PROBE):
            self._log.warn("({label}) {reason}", label=self.label, reason=refused)
        # The server waits for this Deferred when it stops.
        self._clients.disconnected(self, self._release())

    def _stop(self) -> None:
        """Handle no messages any more, and send none."""
        self._close()
        self._put_off = None
        self._holds.clear()
        self._clients.rounds.discard(self)
        self._stop_timers()
        self._session.close()
        self._backlog.close()
        self._free_bytes()

    def _close(self) -> None:
        self._lost = True
        self._answering.stop()

    def _release(self) -> Deferred[None]:
        if self._released is None:
            self._released = Deferred.fromCoroutine(self._connection.lost(self._end_is_told))
        return self._released

    # The methods that the session calls: see `peer.Peer`.

    @property
    def is_extended(self) -> bool:
        return self._session.protocol[1:] == EXTENDED

    @property
    def encoding(self) -> bytes:
        return self._session.protocol[:1]

    def identity(self) -> Identity:
        return peer_identity(self.transport)

    def certificate(self) -> bytes | None:
        return own_certificate(self.transport)

    def registered(self) -> None:
        self._stop_timers()
        self._registered = True
        self._session.registered()
        self._clients.limits.admission.registered(self)
        timeout = self._clients.options.client_timeout
        if not timeout:
            return
        prompt = self._session.protocol[1:] == EXTENDED
        self._liveness = Liveness(
            self._clients.clock,
            timeout if prompt else max(timeout, _RETICENT_TIMEOUT),
            Manners.PROMPT if prompt else Manners.RETICENT,
            lambda: False,
            self._progress,
            lambda: self.push("ping"),
            lambda seconds: self.drop(
                f"nothing was heard from it for {seconds:.3g} seconds (client-timeout)"
            ),
        )

    def _progress(self) -> object:
        # While the server does not read from the client, its silence means nothing.
        return object() if _Hold.CALLS in self._holds else unsent(self.transport)

    def push(self, name: str, *args: Any) -> None:
        if not self._lost:
            self._backlog.write(self._session.oneway(name, *args))

    def tell(self, news: Broadcast) -> None:
        if not self._lost:
            self._backlog.hold()
            self._backlog.write(self._session.broadcast(news))

    def send(self) -> None:
        if not self._lost:
            self._backlog.flush()

    def drop(self, reason: str) -> None:
        if self._lost or self.transport is None:
            return
        self._clients.figures.dropped += self._registered
        if self.admit(Kind.DROPPED if self._registered else Kind.PROBE):
            self._log.warn(
                "({label}) disconnected: {reason}",
                label=self._connection.label,
                reason=brief(reason),
            )
        partings = self._clients.partings
        if (
            DROPPED not in self._connection.capabilities
            or self._backlog.is_full
            or partings.is_full
        ):
            self.let_go()
            return
        partings.begin(self)
        self._say_why(reason)

    def _say_why(self, reason: str) -> None:
        """Tell the client why its connection ends. The client closes it then."""
        self._close()
        self._end_is_told = True
        self._backlog.flush()
        self._backlog.write(self._session.oneway("dropped", brief(reason)))
        self._stop()
        # Not at once: the caller may use something of the client's.
        self._clients.clock.callLater(0, self._release)
        # The transport notices the end of a connection only while it reads.
        transport: Any = self.transport
        transport.resumeProducing()

    def say_goodbye(self, reason: str) -> None:
        """Tell the client that the server is about to stop."""
        self._connection.say_goodbye(reason)

    def let_go(self) -> None:
        """Close the connection, without a line in the log."""
        transport: Any = self.transport
        if transport is None:
            return
        self._close()
        self._end_is_told = True
        # The transport frees the memory in the next turn of the reactor. No other client has to
        # give way until then.
        self._free_bytes()
        transport.abortConnection()

    def writable(self) -> Deferred[None]:
        return self._backlog.writable()

    def state(self) -> ConnectionState | None:
        """See `clients.Connected`."""
        if self._lost:
            return None
        since = self._stuck_since
        return ConnectionState(
            self._session.protocol.decode("ascii"),
            self._registered,
            self._backlog.unsent,
            0.0 if since is None else perf_counter() - since,
            0.0 if self._liveness is None else self._liveness.unanswered,
            self._connection.transaction is not None,
        )

    def report(self) -> ConnectionReport | None:
        """See `clients.Connected`."""
        state = self.state()
        if state is None:
            return None
        now = perf_counter()
        calls = self._answering
        flow = Flow(now - self._since, now - calls.last_call, calls.under_way)
        return connection_report(self.number, self._connection, state, flow)

    # Messages.

    def _handle(self, event: Event) -> None:
        if type(event) is StatusRequested:
            self._clients.limits.admission.asked(self)
            status = {name: served.status() for name, served in self._clients.storages.items()}
            self._backlog.write(encode_frame(json.dumps(status).encode("ascii")))
            self._backlog.flush()
            self._backlog.close()
            transport: Any = self.transport
            transport.unregisterProducer()
            transport.loseConnection()
        elif type(event) in (Replied, Failed):
            raise WireError("an answer to a call that was not made")

    def _stop_timers(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None
        if self._liveness is not None:
            self._liveness.stop()
            self._liveness = None


def _label(address: Any) -> str:
    host, port = getattr(address, "host", None), getattr(address, "port", None)
    if host is not None:
        return f"{host}:{port}"
    name = getattr(address, "name", None)
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    return name or "local"
