"""A client's connection: finds a server, verifies the cache, reconnects after a loss."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure
from ZODB.POSException import POSError, ReadOnlyError

from zeotwisted.exceptions import (
    AccessDenied,
    ClientDisconnected,
    ClientStorageError,
    ProtocolError,
    ServerException,
)
from zeotwisted.protocol import WireError
from zeotwisted.reactor import ReactorAccess
from zeotwisted.transport import HandshakeError

from ..calls import ClientProtocol, Push, Traffic
from ..records import Coherence
from .address import Address, describe
from .announcement import announce
from .candidate import Candidate, reach
from .outage import Outage
from .pauses import pause
from .search import NoServer, Rank, Search
from .states import TRANSITIONS, USABLE, Input, State
from .target import Target, Wanted
from .verification import AnotherDatabase, ServerIsOlder, Verified, verify

__all__ = ["ClientConnection", "ConnectionOwner"]

_log = logging.getLogger("zeotwisted.client")

#: When a better server is found: how long (seconds) the calls on the old connection may still take.
_RETIRE_TIMEOUT = 5.0

#: How long (seconds) a connection has to last before its loss resets the count of attempts.
_STABLE = 5.0

#: Failures that a second attempt does not change.
_REFUSALS = (
    AccessDenied,
    ProtocolError,
    ReadOnlyError,
    ServerException,
    ServerIsOlder,
    HandshakeError,
)

#: How many characters of a server's reason to stop are kept.
_LONGEST_FAREWELL = 200

#: The calls by which a server sends a blob.
BLOB_PUSHES = frozenset({"receiveBlobStart", "receiveBlobChunk", "receiveBlobStop"})


class ConnectionOwner(Protocol):
    """Uses the connection. Its methods are called in the reactor's thread."""

    def notify_connected(self, conn: ClientProtocol, info: dict[str, Any]) -> None:
        """The connection may be used from now on; `info` has facts about the storage."""

    def notify_disconnected(self) -> None:
        """The connection that was used is lost."""

    def info(self, dict: dict[str, Any]) -> None:
        """The server has sent new facts about the storage."""

    def receive_blob(self, name: str, args: tuple[Any, ...]) -> None:
        """The server has sent a part of a blob.

        :raises WireError: the client did not request it.
        """


class ClientConnection:
    """Keeps a connection to a server and reconnects after a loss.

    `wait` and `ready` may be used in any thread. Everything else belongs to the reactor's thread.

    :param target: the servers and the storage.
    :param name: the name of the client in log lines.
    """

    def __init__(
        self,
        access: ReactorAccess,
        target: Target,
        coherence: Coherence,
        owner: ConnectionOwner,
        name: str,
    ) -> None:
        self.state = State.IDLE
        #: The connection, while it can be used; read in any thread.
        self.ready: ClientProtocol | None = None
        #: Why there is no connection, if that is known.
        self.failure: Exception | None = None
        #: What has gone over all connections.
        self.traffic = Traffic()
        #: How often the cache was brought up to date, by what became of it.
        self.verifications = dict.fromkeys(Verified, 0)
        self._access = access
        self._reactor = access.reactor
        self._target = target
        self._coherence = coherence
        self._owner = owner
        self._name = name
        self._changed = threading.Condition()
        # Of `when_ready`: the Deferreds, and whether each one fails fast.
        self._waiters: dict[Deferred[ClientProtocol], bool] = {}
        self._chosen: Candidate | None = None
        # All open connections, also those to servers that are not chosen.
        self._open: dict[ClientProtocol, None] = {}
        self._search: Search | None = None
        self._retry: IDelayedCall | None = None
        self._attempts = 0
        self._outage = Outage(self._reactor)
        self._upgrades = 0
        # What the last server has said of its database.
        self._database: str | None = None
        self._ready_since = 0.0
        self._at_shutdown: Any = None
        self._end = "the storage is closed"
        # Why the server is about to stop, if it has said so.
        self._farewell = ""

    # Any thread.

    def wait(
        self, timeout: float, fail_fast: bool = False, writable: bool = False
    ) -> ClientProtocol:
        """Return the connection, as soon as there is one.

        :param timeout: how long (seconds) to wait for it.
        :param fail_fast: do not wait if all servers refuse this client.
        :param writable: wait for a server that accepts writes from this client.
        :raises ClientDisconnected: there was no connection in time, or the client is closed.
        :raises ClientStorageError: this call would deadlock: it runs in the reactor's thread.
        """
        ready = self._usable(writable)
        if ready is not None:
            return ready
        if self._access.is_current():
            raise ClientStorageError(
                "a blocking call in the reactor's own thread would wait for ever; make it in "
                "another thread, for example with deferToThread"
            )
        deadline = time.monotonic() + timeout
        with self._changed:
            while (ready := self._usable(writable)) is None:
                hopeless = self._hopeless(fail_fast)
                if hopeless is not None:
                    raise hopeless
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not self._access.is_running():
                    raise self._too_late(timeout)
                self._changed.wait(remaining)
            return ready

    def _usable(self, writable: bool) -> ClientProtocol | None:
        ready = self.ready
        return None if ready is None or (writable and ready.read_only) else ready

    def _hopeless(self, fail_fast: bool) -> Exception | None:
        """Return the exception to raise if waiting is useless, or None."""
        if self.state is State.CLOSED:
            return ClientDisconnected(self._end)
        failure = self.failure
        if not isinstance(failure, NoServer):
            return None
        reasons = [why for _, why in failure.failures]
        # A server that denies access does so until its administrator changes something.
        refusals = _REFUSALS if fail_fast else AccessDenied
        if not all(isinstance(why, refusals) for why in reasons):
            return None
        if len(reasons) == 1 and isinstance(reasons[0], (ProtocolError, AccessDenied)):
            return reasons[0]
        return ClientDisconnected(f"{self.where()} refuses us: {self.explanation()}")

    def _too_late(self, timeout: float) -> ClientDisconnected:
        return ClientDisconnected(
            f"no connection to {self.where()} within {timeout:g} seconds: {self.explanation()}"
        )

    def where(self) -> str:
        """Return the addresses as a text for messages."""
        return ", ".join(map(describe, self._target.addresses))

    def explanation(self) -> str:
        """Return why there is no connection, as far as that is known."""
        if not self._access.is_running():
            return "the reactor does not run"
        if self.state is State.FALLBACK:
            return self.state.value
        failure = self.failure
        if isinstance(failure, NoServer):
            return failure.explanation
        if failure is None and any(protocol.connected for protocol in list(self._open)):
            return (
                "it accepts connections, but does not complete the handshake of a ZEO server; "
                "it may expect TLS"
            )
        return str(failure or self.state.value)

    # The reactor's thread.

    def start(self) -> None:
        """Begin to connect."""
        if self._to(Input.START):
            self._at_shutdown = self._reactor.addSystemEventTrigger(
                "before", "shutdown", self._shut_down
            )
            self._begin_search()

    def announce(self, timeout: float) -> None:
        """Log it if there is no connection within a second; see `announcement`."""
        announce(self, self._reactor, self._name, timeout)

    def when_ready(self, timeout: float, fail_fast: bool = False) -> Deferred[ClientProtocol]:
        """Return a Deferred of the connection. Parameters and failures are those of `wait`."""
        waiter: Deferred[ClientProtocol] = Deferred()
        self._waiters[waiter] = fail_fast
        waiter.addTimeout(timeout, self._reactor, lambda _, timeout: self._timed_out(timeout))
        waiter.addBoth(self._no_longer_waiting, waiter)
        self._tell_waiters()
        return waiter

    def _timed_out(self, timeout: float) -> ClientProtocol:
        raise self._too_late(timeout)

    def _no_longer_waiting(self, outcome: Any, waiter: Deferred[ClientProtocol]) -> Any:
        self._waiters.pop(waiter, None)
        return outcome

    def _tell_waiters(self) -> None:
        for waiter, fail_fast in list(self._waiters.items()):
            hopeless = self._hopeless(fail_fast)
            if waiter.called:
                # A callback of an earlier waiter has cancelled this one.
                continue
            if self.ready is not None:
                waiter.callback(self.ready)
            elif hopeless is not None:
                waiter.errback(hopeless)

    def close(self) -> None:
        """Close the connection and do not search for another one."""
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
        self._stop_search()
        for protocol in list(self._open):
            protocol.close(ClientDisconnected(self._end))

    def abandon(self) -> None:
        """After fork: close the child's copies of the parent's sockets, and send nothing."""
        for protocol in self._open:
            protocol.abandon()

    def new_addresses(self, addresses: Sequence[Address]) -> None:
        """Look for servers at other addresses; a connection that is in use stays."""
        self._target = replace(self._target, addresses=tuple(addresses))
        if self._to(Input.RESTART):
            self._begin_search()

    def _to(self, input: Input) -> bool:
        """Change the state; return False if `input` is ignored in the present state."""
        state = TRANSITIONS.get((self.state, input))
        if state is None:
            return False
        with self._changed:
            self.state = state
            self.ready = self._chosen.protocol if self._chosen and state in USABLE else None
            self._changed.notify_all()
        self._tell_waiters()
        return True

    # Looking for a server.

    def _begin_search(self) -> None:
        self._stop_search()
        target = self._target
        if self.state is State.FALLBACK:
            target = replace(target, wanted=Wanted.WRITABLE)
        self._search = search = Search(
            self._reactor,
            target.addresses,
            lambda address: reach(self._reactor, target, address, self._make_protocol),
            self._judge,
        )
        search.outcome.addCallbacks(self._found, self._not_found)
        search.start()

    def _stop_search(self) -> None:
        if self._search is not None:
            self._search.cancel()
            self._search = None
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None

    def _make_protocol(self, push: Push) -> ClientProtocol:
        protocol = ClientProtocol(
            self._access,
            push,
            liveness_timeout=self._target.liveness_timeout,
            traffic=self.traffic,
        )
        self._open[protocol] = None
        protocol.lost.addCallback(self._lost, protocol)
        return protocol

    def _judge(self, candidate: Candidate) -> Rank:
        database = candidate.protocol.database
        if None not in (database, self._database) and database != self._database:
            raise AnotherDatabase
        known = self._coherence.last_transaction()
        if candidate.last_transaction() < known:
            if self._target.refuse_older:
                raise ServerIsOlder(candidate.last_transaction(), known)
            return Rank.OLDER
        if candidate.protocol.read_only and self._target.wanted is Wanted.EITHER:
            return Rank.READ_ONLY
        return Rank.FITS

    def _not_found(self, failure: Failure) -> None:
        assert isinstance(failure.value, NoServer)
        self._search = None
        if not self._to(Input.NOT_FOUND):
            return
        if self.state is State.FALLBACK:
            _log.debug("%s: no writable server: %s", self._name, failure.value)
            self._upgrades += 1
            self._search_again(pause(self._upgrades))
            return
        self._note(failure.value)
        self._tell(failure.value)
        self._search_again(pause(self._attempts))
        self._attempts += 1

    def _tell(self, failure: NoServer) -> None:
        # A set: the addresses are tried at the same time, and fail in any order.
        end = self._outage.failed(frozenset((where, str(why)) for where, why in failure.failures))
        if end is None:
            return
        level = logging.INFO
        if failure.includes(ServerIsOlder):
            level = logging.CRITICAL
        elif failure.includes(HandshakeError) or failure.includes(AccessDenied):
            level = logging.WARNING
        _log.log(level, "%s: no connection: %s%s", self._name, failure, end)

    def _search_again(self, seconds: float) -> None:
        self._retry = self._reactor.callLater(seconds, self._try_again)

    def _try_again(self) -> None:
        if self._to(Input.RETRY):
            self._begin_search()

    # Using a server.

    def _found(self, candidate: Candidate) -> None:
        self._search = None
        old, self._chosen = self._chosen, candidate
        self._farewell = ""
        if self._to(Input.FOUND):
            Deferred.fromCoroutine(self._establish(candidate, old))
        else:
            candidate.protocol.close(ClientDisconnected(self._end))

    async def _establish(self, candidate: Candidate, old: Candidate | None) -> None:
        """Bring the cache up to date, then use the connection."""
        protocol = candidate.protocol
        try:
            if old is not None:
                await self._retire(old.protocol)
                # The old connection may have delivered transactions first. The ping brings their
                # invalidations on the new connection, too.
                await protocol.request("ping")
                self._judge(candidate)
            known = self._coherence.last_transaction()
            await verify(
                protocol,
                candidate.last_transaction(),
                self._coherence,
                self._name,
                self._count_verified,
            )
            candidate.deliver_to(self._pushed, known, self._coherence.last_transaction())
            info = await protocol.request("get_info")
            self._owner.notify_connected(protocol, info)
        except Exception as error:
            protocol.close(error)
            self._lost(error, protocol)
            return
        self._database = protocol.database or self._database
        self._note(None)
        self._ready_since = self._reactor.seconds()
        if protocol.read_only and self._target.wanted is Wanted.EITHER:
            if self._to(Input.MAKESHIFT):
                self._upgrades = 0
                self._search_again(pause(self._upgrades))
        else:
            self._to(Input.ESTABLISHED)

    def _count_verified(self, outcome: Verified) -> None:
        self.verifications[outcome] += 1

    async def _retire(self, protocol: ClientProtocol) -> None:
        """Wait for the answers on a connection that is replaced, then close it."""
        reason = ClientDisconnected("a server was found that takes changes")
        too_late = self._reactor.callLater(_RETIRE_TIMEOUT, protocol.close, reason)
        await protocol.when_idle()
        if too_late.active():
            too_late.cancel()
        protocol.close(reason)

    def _lost(self, error: Exception, protocol: ClientProtocol) -> None:
        self._open.pop(protocol, None)
        if self._chosen is None or self._chosen.protocol is not protocol:
            return
        was_usable = self.state in USABLE
        where = describe(self._chosen.address)
        self._chosen = None
        if not self._to(Input.LOST):
            return
        self._note(error)
        # In FALLBACK, stop the search for a writable server. While establishing, close the old
        # connection.
        self._stop_search()
        for other in list(self._open):
            other.close(error)
        if was_usable:
            if self._farewell:
                _log.info("%s: disconnected from %s: %s", self._name, where, self._farewell)
            else:
                _log.warning("%s: disconnected from %s: %s", self._name, where, error)
            self._owner.notify_disconnected()
            if self._reactor.seconds() - self._ready_since > _STABLE:
                self._attempts = 0
                self._outage.over()
        elif (end := self._outage.failed((where, str(error)))) is not None:
            # Any other error is a bug here: log its traceback.
            usual = isinstance(error, (POSError, WireError))
            _log.log(
                logging.INFO if usual else logging.ERROR,
                "%s: no connection to %s: %s%s",
                self._name,
                where,
                error,
                end,
                exc_info=None if usual else error,
            )
        # The first attempt comes at once: most losses are restarts of the server.
        at_once = was_usable and not self._attempts
        self._search_again(0.0 if at_once else pause(self._attempts))
        self._attempts += 1

    def _note(self, failure: Exception | None) -> None:
        with self._changed:
            self.failure = failure
            self._changed.notify_all()
        self._tell_waiters()

    def _pushed(self, name: str, args: tuple[Any, ...]) -> None:
        if name == "invalidateTransaction":
            tid, oids = args
            self._coherence.invalidate(tid, oids)
        elif name == "info":
            self._owner.info(*args)
        elif name == "goodbye":
            self._farewell = args[0][:_LONGEST_FAREWELL]
        elif name in BLOB_PUSHES:
            self._owner.receive_blob(name, args)
        else:
            raise WireError(f"the server sent {name}, which was not requested")
