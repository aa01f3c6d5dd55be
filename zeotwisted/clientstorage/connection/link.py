"""A storage's connection, and the reactor that it lives in; both begin when they are needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.reactor import OwnReactor, release, shared

from ..calls import ClientProtocol, Waiter
from ..records import Coherence
from .address import Address
from .connection import ClientConnection, ConnectionOwner
from .target import Target

__all__ = ["Link"]

_log = logging.getLogger("zeotwisted.client")

#: How long (seconds) `Link.let_go` waits for the reactor's thread.
_CLOSE_TIMEOUT = 5.0


class Link:
    """What joins a storage, which any thread may use, to its connection in the reactor's.

    :param target: where to, and what for.
    :param reactor: an application's; None for the private one of this process.
    :param name: what log lines call the client.
    """

    def __init__(
        self,
        target: Target,
        reactor: Any,
        coherence: Coherence,
        owner: ConnectionOwner,
        name: str,
    ) -> None:
        self.target = target
        #: None before the beginning.
        self.connection: ClientConnection | None = None
        self.thread: Any = None
        #: Whether the storage is closed, or about to be.
        self.closed = False
        self._reactor = reactor
        self._coherence = coherence
        self._owner = owner
        self._name = name
        # A signal's handler may close the storage in the midst of its start.
        self._starting = threading.RLock()

    @property
    def ready(self) -> ClientProtocol | None:
        """The connection, if it can be used now."""
        connection = self.connection
        return None if connection is None else connection.ready

    def begin(self) -> ClientConnection:
        """Return the connection, which is begun if need be.

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
                    # By a signal's handler, which found nothing to close yet.
                    self.let_go()
            return self.connection

    def wait_for_first(self, timeout: float) -> None:
        """Wait for the connection when the storage is opened, and say so if it takes long.

        :raises ClientDisconnected: see `ClientConnection.wait`.
        """
        connection = self.begin()
        self.thread.reactor.callFromThread(connection.announce, timeout)
        connection.wait(timeout, fail_fast=True)

    def new_addresses(self, addresses: Sequence[Address]) -> None:
        """Look for servers at other addresses."""
        self.target = replace(self.target, addresses=tuple(addresses))
        connection = self.begin()
        self.thread.reactor.callFromThread(connection.new_addresses, self.target.addresses)

    def is_current(self) -> bool:
        """Return whether this is the reactor's thread, which must not wait."""
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
        """Let nothing begin any more; return False if somebody else has done so."""
        with self._starting:
            if self.closed:
                return False
            self.closed = True
            return True

    def let_go(self) -> None:
        """End the connection, if there is one; whoever waits for it gets `ClientDisconnected`."""
        connection, thread = self.connection, self.thread
        if connection is None:
            return
        try:
            if thread.is_current():
                connection.close()
                return
            closed = threading.Event()
            thread.reactor.callFromThread(connection.close)
            thread.reactor.callFromThread(closed.set)
            if thread.is_running() and not closed.wait(_CLOSE_TIMEOUT):
                _log.warning("%s: the reactor's thread is busy; not closed yet", self._name)
        finally:
            if self._reactor is None:
                release(thread)

    def abandon(self) -> None:
        """In a child process: the connection is the parent's."""
        if self.connection is not None:
            self.connection.abandon()
