"""The connection of a storage and its reactor. Both start when they are needed first."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ZODB.POSException import POSError, Unsupported

from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.reactor import OwnReactor, release, shared

from ..calls import ClientProtocol, DroppedIterators, Waiter
from ..records import Coherence
from .address import Address
from .connection import ClientConnection, ConnectionOwner
from .target import Target, Wanted

__all__ = ["Link"]

_log = logging.getLogger("zeotwisted.client")

#: How long (seconds) `Link.let_go` waits for the reactor's thread to close the connection.
_CLOSE_TIMEOUT = 5.0

#: How long (seconds) to wait for the size of the storage. After that the last known size is used.
_INFO_TIMEOUT = 2.0


class Link:
    """Connects a storage, which any thread may use, with its connection in the reactor's thread.

    :param target: the servers and the storage.
    :param timeout: how long (seconds) calls wait for a connection.
    :param reactor: the application's; None for the private reactor of this process.
    :param name: the name of the client in log lines.
    :ivar dropped: iterators at the server that are not needed any more.
    """

    def __init__(
        self,
        target: Target,
        timeout: float,
        reactor: Any,
        coherence: Coherence,
        owner: ConnectionOwner,
        name: str,
    ) -> None:
        self.target = target
        self.timeout = timeout
        self.dropped = DroppedIterators()
        #: None before `begin`.
        self.connection: ClientConnection | None = None
        self.thread: Any = None
        #: Whether the storage is closed, or about to be.
        self.closed = False
        self._reactor = reactor
        self._coherence = coherence
        self._owner = owner
        self._name = name
        # Reentrant: a signal handler may close the storage while this thread is in `begin`.
        self._starting = threading.RLock()

    @property
    def ready(self) -> ClientProtocol | None:
        """The connection if it can be used now, or None."""
        connection = self.connection
        return None if connection is None else connection.ready

    def begin(self) -> ClientConnection:
        """Return the connection; start it if necessary.

        :raises ClientDisconnected: the storage is closed.
        """
        with self._starting:
            if self.closed:
                raise ClientDisconnected("the storage is closed")
            if self.connection is None:
                if self._reactor is None:
                    self.thread = shared()
                else:
                    self.thread = OwnReactor(self._reactor)
                self.connection = ClientConnection(
                    self.thread, self.target, self._coherence, self._owner, self._name
                )
                self.thread.reactor.callFromThread(self.connection.start)
                if self.closed:
                    # A signal handler has closed the storage before there was a connection.
                    self.let_go()
            return self.connection

    def wait_for_first(self) -> None:
        """Wait for the connection when the storage is opened; log it if that takes long.

        :raises ClientDisconnected: see `ClientConnection.wait`.
        """
        connection = self.begin()
        self.thread.reactor.callFromThread(connection.announce, self.timeout)
        connection.wait(self.timeout, fail_fast=True)

    def protocol(self, timeout: float | None = None) -> ClientProtocol:
        """Return the connection; wait for it if necessary.

        :param timeout: how long (seconds) to wait; by default the timeout of the link.
        :raises ClientDisconnected: there is no connection in time, or the storage is closed.
        """
        protocol = self.ready or self.begin().wait(self.timeout if timeout is None else timeout)
        if self.dropped:
            self.dropped.tell(protocol)
        return protocol

    def writable_protocol(self, timeout: float) -> ClientProtocol:
        """Do what `protocol` does, for a server that accepts writes from this client."""
        return self.begin().wait(timeout, writable=True)

    def call(self, name: str, *args: Any, timeout: float | None = None) -> Any:
        """Call the server; wait for the connection, and for the result."""
        return self.protocol(timeout).ask(Waiter(), name, *args)

    def call_extended(self, name: str, otherwise: Any, timeout: float | None) -> Any:
        """Make a call of version 6; return `otherwise` if the server speaks version 5."""
        protocol = self.protocol(timeout)
        return protocol.ask(Waiter(), name) if protocol.is_extended else otherwise

    def steer(self, name: str, *args: Any) -> Any:
        """Make a call for operators.

        :raises ZODB.POSException.Unsupported: the server does not have them.
        """
        protocol = self.protocol()
        if not protocol.is_steered:
            raise Unsupported(
                "the server is one of ZEO's, or too old; only servers of zeotwisted can do that"
            )
        return protocol.ask(Waiter(), name, *args)

    def call_versioned(self, name: str, *args: Any) -> tuple[Any, bool]:
        """Return the result of a call, and whether it has the format of version 6."""
        protocol = self.protocol()
        return protocol.ask(Waiter(), name, *args), protocol.is_extended

    def facts(self) -> dict[str, Any] | None:
        """Return what the server says about the storage; None if it cannot be asked now."""
        protocol = self.ready
        if protocol is None or not self.may_wait:
            return None
        try:
            return protocol.ask(Waiter(), "get_info", timeout=_INFO_TIMEOUT)
        except (POSError, TimeoutError):
            # The caller uses the last known facts.
            return None

    @property
    def is_read_only(self) -> bool:
        """Whether this client or the server refuses to write."""
        ready = self.ready
        return self.target.wanted is Wanted.READ_ONLY or (ready is not None and ready.read_only)

    @property
    def may_wait(self) -> bool:
        """Whether this thread may wait for the server. The reactor's thread must not."""
        return not self.closed and not self.is_current()

    def new_addresses(self, addresses: Sequence[Address]) -> None:
        """Look for servers at other addresses."""
        self.target = replace(self.target, addresses=tuple(addresses))
        connection = self.begin()
        self.thread.reactor.callFromThread(connection.new_addresses, self.target.addresses)

    def is_current(self) -> bool:
        """Return whether the calling thread is the reactor's, which must not wait."""
        return self.thread is not None and self.thread.is_current()

    def is_connected(self, test: bool = False) -> bool:
        """See `ClientStorage.is_connected`."""
        protocol = self.ready
        if protocol is None or self.closed or not self.thread.is_running():
            return False
        if test and not self.is_current():
            try:
                protocol.ask(Waiter(), "ping")
            except ClientDisconnected:
                return False
        return True

    def begin_closing(self) -> bool:
        """Make later calls of `begin` fail; return False if the storage is closed already."""
        with self._starting:
            if self.closed:
                return False
            self.closed = True
            return True

    def let_go(self) -> None:
        """Close the connection, if there is one; calls that wait raise `ClientDisconnected`."""
        connection, thread = self.connection, self.thread
        if connection is None:
            return
        try:
            if thread.is_current():
                connection.close()
                return
            closed = threading.Event()

            def close() -> None:
                try:
                    connection.close()
                finally:
                    closed.set()

            thread.reactor.callFromThread(close)
            if thread.is_running() and not closed.wait(_CLOSE_TIMEOUT):
                _log.warning("%s: the reactor's thread is busy; not closed yet", self._name)
        finally:
            if self._reactor is None:
                release(thread)

    def abandon(self) -> None:
        """After fork: close the child's copies of the parent's sockets."""
        if self.connection is not None:
            self.connection.abandon()
