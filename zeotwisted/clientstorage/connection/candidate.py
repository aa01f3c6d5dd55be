"""A server that the search may choose: connected, registered, and not yet used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from ZODB.POSException import ReadOnlyError
from ZODB.utils import z64

from zeotwisted.exceptions import ClientDisconnected, UnrecognizedResult
from zeotwisted.protocol import (
    AUTHENTICATE,
    CHANGES,
    DROPPED,
    GOODBYE,
    LOAD_AHEAD,
    MARK_AT_VOTE,
    OPERATORS,
    SHARED,
    STANDBY,
    TID_AT_VOTE,
    VOTE_WITHIN,
    agreed,
    methods,
)

from ..calls import ClientProtocol, Push
from .address import Address, describe, endpoints
from .target import Target, Wanted

__all__ = ["Candidate", "reach"]

#: How long (seconds) an attempt to connect, and the handshake and registration after it, may take.
_CONNECT_TIMEOUT = 10.0
_REGISTER_TIMEOUT = 30.0

#: What this end offers; see `zeotwisted.protocol.capabilities`.
_OFFERED: dict[str, dict[str, Any]] = {
    CHANGES: {},
    DROPPED: {},
    GOODBYE: {},
    LOAD_AHEAD: {},
    MARK_AT_VOTE: {},
    OPERATORS: {},
    SHARED: {},
    STANDBY: {},
    TID_AT_VOTE: {},
    VOTE_WITHIN: {},
}


class Candidate:
    """A connection to a server that is not chosen yet.

    The server may call the client at any time. The calls are queued until `deliver_to`.

    :ivar tid: the server's last transaction at the time of the registration.
    """

    #: Set as soon as there is a connection.
    protocol: ClientProtocol

    def __init__(self, address: Address) -> None:
        self.address = address
        self.tid = z64
        self._held: list[tuple[str, tuple[Any, ...]]] = []
        self._receive: Push = self._hold

    def pushed(self, name: str, args: tuple[Any, ...]) -> None:
        """Receive a call of the server's."""
        self._receive(name, args)

    def _hold(self, name: str, args: tuple[Any, ...]) -> None:
        self._held.append((name, args))

    def last_transaction(self) -> bytes:
        """Return the tid of the last transaction that the server has reported."""
        told = [args[0] for name, args in self._held if name == "invalidateTransaction"]
        return max([self.tid, *told])

    def deliver_to(self, receive: Push, known: bytes, verified: bytes) -> None:
        """Pass the queued calls, and all later ones, to `receive`.

        Queued invalidations up to `verified` are skipped: the client has applied them. A server of
        ZEO may also send some of them after the answer that they are a part of.

        :param known: the client's last transaction before the verification.
        :param verified: its last transaction after it.
        """
        held, self._held = self._held, []

        def receive_later(name: str, args: tuple[Any, ...]) -> None:
            if name == "invalidateTransaction":
                if known < args[0] <= verified:
                    return
                self._receive = receive
            receive(name, args)

        self._receive = receive_later
        for name, args in held:
            if name != "invalidateTransaction" or args[0] > verified:
                self._receive(name, args)

    def exchange_capabilities(self, target: Target) -> Deferred[None]:
        """Send what this end can do; the Deferred fires when the server has answered.

        In version 5 it fires at once: there are no capabilities.
        """
        offered: dict[str, Any] = {**_OFFERED, **target.offers}
        if target.credentials is not None:
            offered[AUTHENTICATE] = {}
        if not self.protocol.is_extended:
            return succeed(None)
        answer: Deferred[Any] = Deferred()

        def told(theirs: Any) -> None:
            if not methods.capabilities(theirs):
                raise UnrecognizedResult("capabilities", theirs)
            self.protocol.capabilities = agreed(offered, theirs)

        answer.addCallback(told)
        self.protocol.call(answer, "capabilities", target.storage_id, offered)
        return answer

    async def register(self, storage_id: str, wanted: Wanted) -> None:
        """Register for a storage.

        :raises ZODB.POSException.ReadOnlyError: the target wants to write and the server refuses.
        """
        try:
            await self._register(storage_id, wanted is Wanted.READ_ONLY)
        except ReadOnlyError:
            if wanted is not Wanted.EITHER:
                raise
            await self._register(storage_id, True)

    def _register(self, storage_id: str, read_only: bool) -> Deferred[None]:
        answer: Deferred[Any] = Deferred()

        def registered(tid: Any) -> None:
            if not methods.tid_or_none(tid):
                raise UnrecognizedResult("register", tid)
            # Before the next message is read: it may be an invalidation.
            self.protocol.registered()
            self.protocol.read_only = read_only
            # None: the storage has no transactions.
            self.tid = tid or z64

        answer.addCallback(registered)
        self.protocol.call(answer, "register", storage_id, read_only)
        return answer


async def reach(
    reactor: IReactorTime,
    target: Target,
    address: Address,
    make_protocol: Callable[[Push], ClientProtocol],
) -> Candidate:
    """Connect to a server and register. The caller may cancel this at any time.

    :param address: one of the target's.
    :param make_protocol: makes a protocol; its argument receives the server's calls.
    :raises Exception: the connection or the registration failed.
    """
    error: Exception = ClientDisconnected("the server's name has no address")
    for endpoint in await endpoints(reactor, address, _CONNECT_TIMEOUT):
        candidate = Candidate(address)
        factory = Factory.forProtocol(partial(make_protocol, candidate.pushed))
        factory.noisy = False
        try:
            candidate.protocol = await target.security(reactor, endpoint, address).connect(factory)
        except CancelledError:
            raise
        except Exception as failure:
            error = failure
            continue
        await _introduce(reactor, target, candidate)
        return candidate
    raise error


async def _introduce(reactor: IReactorTime, target: Target, candidate: Candidate) -> None:
    protocol = candidate.protocol
    too_late = reactor.callLater(
        _REGISTER_TIMEOUT,
        protocol.close,
        ClientDisconnected(
            f"{describe(candidate.address)} did not complete the handshake within "
            f"{_REGISTER_TIMEOUT:g} seconds; is it a ZEO server, and does it expect TLS?"
        ),
    )
    try:
        await protocol.ready
        credentials = target.credentials
        exchanged = candidate.exchange_capabilities(target)
        try:
            if credentials is not None:
                # Imported late: it takes longer to load than to connect, and most clients have no
                # user name.
                from .authentication import authenticate

                await exchanged
                await authenticate(protocol, credentials)
            # Otherwise the registration is sent in the same round trip.
            await candidate.register(target.storage_id, target.wanted)
        except BaseException:
            # The connection is closed, and nothing else handles this failure.
            exchanged.addErrback(lambda failure: None)
            raise
        await exchanged
    except CancelledError:
        protocol.close(ClientDisconnected("another server was chosen"))
        raise
    except Exception as error:
        protocol.close(error)
        raise
    finally:
        if too_late.active():
            too_late.cancel()
