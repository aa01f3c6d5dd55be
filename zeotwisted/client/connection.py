"""The life of a client's connection: found, verified, used, lost, found again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

from twisted.application.internet import backoffPolicy
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Factory
from ZODB.POSException import ReadOnlyError
from ZODB.utils import z64

from zeotwisted.exceptions import (
    ClientDisconnected,
    ClientStorageError,
    ProtocolError,
    ServerException,
)
from zeotwisted.protocol.session import WireError

from .address import Address, describe, endpoints
from .coherence import Coherence
from .protocol import ClientProtocol
from .verification import verify

__all__ = ["TRANSITIONS", "ClientConnection", "ConnectionOwner", "Input", "ReactorAccess", "State"]

_log = logging.getLogger("zeotwisted.client")

#: How long (seconds) an attempt to connect, and the handshake and verification after it, may take.
_CONNECT_TIMEOUT = 10.0
_ESTABLISH_TIMEOUT = 30.0

#: How long (seconds) a connection has to last for the next loss to be the first one again.
_STABLE = 5.0


class State(Enum):
    """Where a connection is in its life."""

    IDLE = "not started"
    CONNECTING = "connecting"
    ESTABLISHING = "verifying"
    READY = "connected"
    PAUSING = "waiting for the next attempt"
    CLOSED = "closed"


class Input(Enum):
    """What may happen to it."""

    START = "start"
    CONNECTED = "a socket is connected"
    ESTABLISHED = "server and client agree"
    FAILED = "it did not work, or is lost"
    RETRY = "time for the next attempt"
    CLOSE = "close"


#: What is not in this table is ignored: it comes too late to matter.
TRANSITIONS: Mapping[tuple[State, Input], State] = {
    (State.IDLE, Input.START): State.CONNECTING,
    (State.CONNECTING, Input.CONNECTED): State.ESTABLISHING,
    (State.CONNECTING, Input.FAILED): State.PAUSING,
    (State.ESTABLISHING, Input.ESTABLISHED): State.READY,
    (State.ESTABLISHING, Input.FAILED): State.PAUSING,
    (State.READY, Input.FAILED): State.PAUSING,
    (State.PAUSING, Input.RETRY): State.CONNECTING,
} | {(state, Input.CLOSE): State.CLOSED for state in State if state is not State.CLOSED}


class ReactorAccess(Protocol):
    """A reactor, and how it relates to threads; see `zeotwisted.reactorthread`."""

    reactor: Any

    def is_current(self) -> bool: ...

    def is_running(self) -> bool: ...


class ConnectionOwner(Protocol):
    """Who wants the connection. It is told in the reactor's thread."""

    def notify_connected(self, conn: ClientProtocol, info: dict[str, Any]) -> None:
        """The connection may be used from now on; `info` is what the server tells of itself."""

    def notify_disconnected(self) -> None:
        """The connection that was used is lost."""

    def info(self, dict: dict[str, Any]) -> None:
        """The server tells news of itself."""


class ClientConnection:
    """Keeps a connection to a server, whatever happens to the server.

    `wait`, `ready` and `start` may be used in any thread, everything else belongs to the
    reactor's.

    :param address: where the server is.
    :param storage_id: the storage's name at the server.
    :param name: what log lines call this client.
    :param liveness_timeout: the longest silence of a server, in seconds; 0 for any.
    """

    def __init__(
        self,
        access: ReactorAccess,
        address: Address,
        storage_id: str,
        read_only: bool,
        coherence: Coherence,
        owner: ConnectionOwner,
        name: str,
        liveness_timeout: float,
    ) -> None:
        self.state = State.IDLE
        #: The connection, while it can be used; read in any thread.
        self.ready: ClientProtocol | None = None
        #: Why there is none, if that is known.
        self.failure: Exception | None = None
        self._access = access
        self._reactor = access.reactor
        self._address = address
        self._storage_id = storage_id
        self._read_only = read_only
        self._coherence = coherence
        self._owner = owner
        self._name = name
        self._liveness_timeout = liveness_timeout
        self._changed = threading.Condition()
        self._protocol: ClientProtocol | None = None
        self._retry: IDelayedCall | None = None
        self._attempts = 0
        self._ready_since = 0.0
        self._at_shutdown: Any = None
        self._end = "the storage is closed"
        self._pause = backoffPolicy(initialDelay=0.5, maxDelay=10.0)

    # Any thread.

    def wait(self, timeout: float, fail_fast: bool = False) -> ClientProtocol:
        """Return the connection, as soon as there is one.

        :param timeout: how long (seconds) to wait for it.
        :param fail_fast: do not wait for a server that is there but refuses us.
        :raises ClientDisconnected: there was none in that time, or the client is closed.
        :raises ClientStorageError: it would wait in the thread that it waits for.
        """
        ready = self.ready
        if ready is not None:
            return ready
        if self._access.is_current():
            raise ClientStorageError(
                "a blocking call in the reactor's own thread would wait for ever; make it in "
                "another thread, for example with deferToThread"
            )
        deadline = time.monotonic() + timeout
        with self._changed:
            while self.ready is None:
                if self.state is State.CLOSED:
                    raise ClientDisconnected(self._end)
                if fail_fast and isinstance(self.failure, ProtocolError):
                    raise self.failure
                if fail_fast and isinstance(self.failure, (ReadOnlyError, ServerException)):
                    raise ClientDisconnected(
                        f"{describe(self._address)} refuses us: {self._explanation()}"
                    )
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not self._access.is_running():
                    raise ClientDisconnected(
                        f"no connection to {describe(self._address)} within {timeout:g} seconds: "
                        f"{self._explanation()}"
                    )
                self._changed.wait(remaining)
            return self.ready

    def _explanation(self) -> str:
        if not self._access.is_running():
            return "the reactor does not run"
        failure = self.failure
        if isinstance(failure, ServerException) and isinstance(failure.args[-1], tuple):
            return "; ".join(map(str, failure.args[-1]))
        if isinstance(failure, ReadOnlyError):
            return f"it is read-only and we want to write; open it with read_only=True ({failure})"
        if failure is None and self.state is State.ESTABLISHING:
            return "it accepts connections, but does not complete the handshake of a ZEO server"
        return str(failure or self.state.value)

    # The reactor's thread.

    def start(self) -> None:
        """Begin to connect."""
        if self._to(Input.START):
            self._at_shutdown = self._reactor.addSystemEventTrigger(
                "before", "shutdown", self._shut_down
            )
            self._connect()

    def close(self) -> None:
        """Give up the connection and do not look for another."""
        if self._at_shutdown is not None:
            self._reactor.removeSystemEventTrigger(self._at_shutdown)
            self._at_shutdown = None
        self._close()

    def _shut_down(self) -> None:
        self._at_shutdown = None
        self._end = "the reactor has stopped"
        self._close()

    def _close(self) -> None:
        if not self._to(Input.CLOSE):
            return
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        if self._protocol is not None:
            self._protocol.close(ClientDisconnected(self._end))

    def abandon(self) -> None:
        """In a child process: the connection belongs to the parent. Let go without a word."""
        if self._protocol is not None:
            self._protocol.abandon()

    def new_address(self, address: Address) -> None:
        """Look for the server at another place, from the next attempt on."""
        self._address = address
        if self.state is State.PAUSING:
            assert self._retry is not None
            self._retry.cancel()
            self._try_again()

    def _to(self, input: Input) -> bool:
        """Take note of `input`; return whether it means anything in this state."""
        state = TRANSITIONS.get((self.state, input))
        if state is None:
            return False
        with self._changed:
            self.state = state
            self.ready = self._protocol if state is State.READY else None
            self._changed.notify_all()
        return True

    def _connect(self) -> None:
        ensureDeferred(self._attempt())

    async def _attempt(self) -> None:
        try:
            await self._try_addresses()
        except Exception as error:
            self._failed(error)

    async def _try_addresses(self) -> None:
        error: Exception = ClientDisconnected("the server's name has no address")
        factory = Factory.forProtocol(self._build)
        factory.noisy = False
        for endpoint in await endpoints(self._reactor, self._address, _CONNECT_TIMEOUT):
            try:
                protocol = await endpoint.connect(factory)
            except Exception as failure:
                error = failure
                continue
            if self._to(Input.CONNECTED):
                self._protocol = protocol
                await self._establish(protocol)
            else:
                # It comes too late, and nobody waits for its handshake.
                protocol.ready.addErrback(lambda failure: None)
                protocol.close(ClientDisconnected(self._end))
            return
        raise error

    def _build(self) -> ClientProtocol:
        return ClientProtocol(
            self._reactor,
            self._reactor.callFromThread,
            self._access.is_current,
            self._pushed,
            liveness_timeout=self._liveness_timeout,
        )

    def _pushed(self, name: str, args: tuple[Any, ...]) -> None:
        if name == "invalidateTransaction":
            tid, oids = args
            self._coherence.invalidate(tid, oids)
        elif name == "info":
            self._owner.info(*args)
        else:
            raise WireError(f"nobody asked for {name}")

    async def _establish(self, protocol: ClientProtocol) -> None:
        """Agree with the server on who we are and on what has happened."""
        protocol.lost.addCallback(self._lost, protocol)
        too_late = self._reactor.callLater(
            _ESTABLISH_TIMEOUT,
            protocol.close,
            ClientDisconnected(
                f"{describe(self._address)} did not complete the handshake within "
                f"{_ESTABLISH_TIMEOUT:g} seconds; is it a ZEO server?"
            ),
        )
        try:
            await protocol.ready
            self._coherence.connecting()
            tid = await self._register(protocol)
            # It is a server. Verification takes as long as it takes.
            too_late.cancel()
            # A storage without any transaction may have no last one.
            await verify(protocol, tid or z64, self._coherence, self._name)
            info = await protocol.request("get_info")
            self._owner.notify_connected(protocol, info)
        except Exception as error:
            protocol.close(error)
            raise
        finally:
            if too_late.active():
                too_late.cancel()
        self.failure = None
        self._ready_since = self._reactor.seconds()
        self._to(Input.ESTABLISHED)

    def _register(self, protocol: ClientProtocol) -> Deferred[bytes]:
        answer: Deferred[bytes] = Deferred()

        def registered(tid: bytes) -> bytes:
            # In the turn of the answer: invalidations may follow it at once.
            protocol.registered()
            return tid

        answer.addCallback(registered)
        protocol.call(answer, "register", self._storage_id, self._read_only)
        return answer

    def _lost(self, error: Exception, protocol: ClientProtocol) -> None:
        if protocol is self._protocol:
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        was_ready = self.state is State.READY
        if not self._to(Input.FAILED):
            return
        with self._changed:
            self.failure = error
            self._changed.notify_all()
        self._protocol = None
        where = describe(self._address)
        if was_ready:
            _log.warning("%s: disconnected from %s: %s", self._name, where, error)
            self._owner.notify_disconnected()
            if self._reactor.seconds() - self._ready_since > _STABLE:
                self._attempts = 0
        else:
            _log.info("%s: no connection to %s: %s", self._name, where, error)
        # The first attempt comes at once: most servers are only being restarted.
        pause = 0.0 if was_ready and not self._attempts else self._pause(self._attempts)
        self._attempts += 1
        self._retry = self._reactor.callLater(pause, self._try_again)

    def _try_again(self) -> None:
        if self._to(Input.RETRY):
            self._connect()
