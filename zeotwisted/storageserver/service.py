"""The server as Twisted services, for twistd and for any Twisted application."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from threading import Thread
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from ZODB import event as events
from ZODB.POSException import StorageError

from zeotwisted.access import OPEN, Access
from zeotwisted.arguments import checked
from zeotwisted.interfaces import Closed, Serving
from zeotwisted.reactor import handle_signals, set_exit_code

from .arguments import LISTEN, STORAGE_SERVER
from .connections import StorageServerFactory
from .engine import NotServable, check_servable, choose_engine
from .figures import ConnectionReport, ServerReport
from .limits import Limits
from .options import ServerOptions
from .reporting import server_report
from .storage import (
    MOST_LOADS,
    CommitThread,
    InThread,
    ServedStorage,
    Threads,
    default_classes,
)
from .threadpool import IdlingPool

__all__ = ["ListeningError", "StorageServer"]

#: How many slow calls (packs, undo logs, iterations) run at the same time.
_SLOW_CALLS = 8

#: When the server stops: how long (seconds) it waits for a database of another machine's.
_HANGS = 4.0

#: How long (seconds) each step may take at least.
_LEAST = 0.5


class ListeningError(Exception):
    """The server cannot listen at an address; the text says where and why."""


class StorageServer(MultiService):
    """Serves storages; put it into your application's `MultiService`.

    It closes the storages when it stops.

    :param reactor: runs the server.
    :param storages: objects that provide ZODB's storage interfaces, by the names under which
        clients register for them.
    :param options: see `ServerOptions`.
    :param access: the roles of clients, see `zeotwisted.access`. By default, every client may do
        everything.
    :raises ValueError: an argument can never work; the text says what to write instead.
    :raises zeotwisted.storageserver.NotServable: clients of a storage would read old data, as with
        RelStorage. The caller has to close the storages then.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        storages: Mapping[str, Any],
        options: ServerOptions | None = None,
        access: Access | None = None,
    ) -> None:
        super().__init__()
        checked(STORAGE_SERVER, locals())
        check_servable(storages)
        self._reactor = reactor
        self._storages = dict(storages)
        self.options = options or ServerOptions()
        #: The served storages by name, while the server runs.
        self.served: dict[str, ServedStorage] = {}
        #: What clients may have, and how much of it they have.
        self.limits = Limits(self.options, reactor)
        self.factory = StorageServerFactory(
            self.served, self.options, reactor, access or OPEN, self.limits
        )
        #: What is counted that concerns no storage.
        self.figures = self.factory.clients.figures
        #: The exceptions of storages that could not be closed, or have become unusable.
        self.failures: list[Exception] = []
        #: Called when a storage has become unusable, as FileStorage does if the disk fails while it
        #: finishes a transaction. Its clients wait until it is served again, so stop the process.
        self.when_unusable: Callable[[], object] = lambda: None
        #: Whether the server stops, and lets its clients finish.
        self.draining = False
        # Fires when the server that stops need not wait for transactions any more.
        self._drained: Deferred[None] = Deferred()
        self._pools: list[IdlingPool | CommitThread] = []
        self._idling: list[IdlingPool] = []

    def report(self) -> ServerReport:
        """Return the state of the server and what it has counted, for monitoring."""
        return server_report(self.factory.clients, self.served.values(), self.limits, self.draining)

    def connections(self, most: int) -> list[ConnectionReport]:
        """Return the state of at most so many connections.

        Those for which the most bytes wait are first, then those in a transaction.
        """
        return self.factory.clients.reports(most)

    def connection(self, number: int) -> ConnectionReport | None:
        """Return the state of the connection with a number; None if it is gone."""
        return self.factory.clients.report_of(number)

    def disconnect(self, number: int, reason: str) -> ConnectionReport | None:
        """Disconnect a client.

        :param number: that of its `ConnectionReport`.
        :param reason: for the log, and for the client.
        :return: what it was; None if it is gone.
        """
        return self.factory.clients.disconnect(number, reason)

    def addresses(self) -> list[Any]:
        """Return the addresses at which the server listens, as Twisted's address objects."""
        return [
            service.port.getHost()
            for service in self
            if isinstance(service, _Listener) and service.port is not None
        ]

    def listen(
        self, endpoint: IStreamServerEndpoint, description: str, access: Access | None = None
    ) -> _Listener:
        """Add an address to listen at; call this before the start.

        :param description: the name of the endpoint in messages.
        :param access: the roles of the clients at this address; by default, those of the server.
        :raises ValueError: `endpoint` is not an endpoint; the text says what to write instead.
        """
        checked(LISTEN, locals())
        factory = self.factory if access is None else self.factory.with_access(access)
        listener = _Listener(endpoint, description, factory)
        listener.setServiceParent(self)
        return listener

    def privilegedStartService(self) -> None:
        """Serve the storages, then listen at all addresses, or at none.

        :raises ListeningError: an address is in use, or is not one of this machine's.
        """
        slow = self._pool("slow calls", _SLOW_CALLS)
        # Threads start when they are needed, so this costs nothing if all storages are fast.
        loads = self._pool("loads", MOST_LOADS * len(self._storages))
        try:
            self._serve(slow, loads)
        except NotServable:
            for served in self.served.values():
                served.engine.stop()
            raise
        try:
            super().privilegedStartService()
        except ListeningError:
            for service in self:
                service.stopService()
            raise

    def _serve(self, slow: InThread, loads: InThread) -> None:
        options = self._with_conflict_classes()
        for storage_id, storage in self._storages.items():
            engine = choose_engine(storage_id, storage, self._reactor)
            threads = Threads(
                self._reactor,
                self._reactor.callFromThread,
                self._commit_threads(storage_id, engine.votes),
                slow,
                loads,
            )
            self.served[storage_id] = ServedStorage(
                storage_id, engine, options, threads, self.limits
            )
            self.served[storage_id].when_unusable = self._unusable
            self._log.info("serving {name} as {id!r}", name=storage.getName(), id=storage_id)

    def _unusable(self, reason: str) -> None:
        self.failures.append(StorageError(reason))
        self.when_unusable()

    def _with_conflict_classes(self) -> ServerOptions:
        """Return the options, with the default for `conflict_classes` that fits the roles."""
        if self.options.conflict_classes is not None:
            return self.options
        factories = [self.factory, *(each.factory for each in self if isinstance(each, _Listener))]
        has_roles = not all(factory.access.is_open for factory in factories)
        return replace(self.options, conflict_classes=default_classes(has_roles))

    def startService(self) -> None:
        """Start; call `privilegedStartService` first if the application has not done so."""
        if not self.served:
            self.privilegedStartService()
        super().startService()
        # Last: a signal handler that the daemon or the application has installed before is kept.
        handle_signals(self._reactor, [])
        addresses = self.addresses()
        if addresses:
            self._notify(Serving(self, _place(addresses[0])))

    def _notify(self, event: Serving | Closed) -> None:
        try:
            # Look the function up at each call: applications replace it in ZODB's module.
            events.notify(event)
        except Exception:
            # An error of the application's subscriber must not stop the server.
            self._log.failure("a subscriber to {event} failed", event=type(event).__name__)

    async def _stop(self) -> None:
        self.draining = True
        await maybeDeferred(super().stopService)
        await self._drain()
        self.factory.clients.drop_all("the server stops")
        end = self._reactor.seconds() + _HANGS
        await self._unless_it_hangs(self.factory.clients.all_released(), end)
        self.factory.clients.floods.close()
        self.limits.trimmer.close()
        await self._unless_it_hangs(self._stop_pools(), end)
        await self._unless_it_hangs(self._close_storages(), end)
        self.served.clear()
        self._notify(Closed(self))

    async def _unless_it_hangs(self, step: Deferred[None], end: float) -> None:
        """Wait for a step of the stop; if a database hangs, only up to a time.

        What others commit in it is not lost then, and what this server has begun is aborted there
        when the process ends.
        """
        if not self._is_shared:
            await step
            return
        late: Deferred[None] = Deferred()
        timer = self._reactor.callLater(
            max(_LEAST, end - self._reactor.seconds()), late.callback, None
        )
        _, index = await DeferredList([step, late], fireOnOneCallback=True)
        if index:
            self._log.warn("the server stops, and does not wait for its database any more")
        else:
            timer.cancel()

    @property
    def _is_shared(self) -> bool:
        return any(served.engine.is_shared for served in self.served.values())

    async def _drain(self) -> None:
        """Tell the clients, and let the transactions finish that have voted or are voting."""
        self.factory.clients.say_goodbye("the server stops")
        self._stop_packs()
        locks = [served.lock for served in self.served.values()]
        DeferredList([lock.drain() for lock in locks]).addCallback(lambda _: self._end_drain())
        timer = self._reactor.callLater(self.options.drain_timeout, self._end_drain)
        await self._drained
        if timer.active():
            timer.cancel()
        for lock in locks:
            for holder in lock.holders:
                self._log.warn(
                    "({label}) its commit is aborted, as the server stops: {details}; "
                    "drain-timeout is {timeout:g} seconds",
                    **holder.log_fields,
                    details=holder.details,
                    timeout=self.options.drain_timeout,
                )

    def _stop_packs(self) -> None:
        interrupts = self.options.pack_at_stop == "interrupt"
        for name, served in self.served.items():
            if interrupts:
                served.packs.interrupt()
            if served.packs.running:
                self._log.info(
                    "the pack of {id!r} {what}",
                    id=name,
                    what="has to end" if interrupts else "goes on, and the server waits for it",
                )

    def set_exit_code(self) -> None:
        """Have the process end as ``twistd zeo`` does, whose main service this server is.

        After SIGTERM or SIGINT the exit code is 0, or 1 if a storage could not be closed. A second
        signal ends the wait for transactions and packs. Without this, Twisted ends the process by
        the signal. Call it before the reactor runs.
        """
        set_exit_code(self._reactor, self.hurry, lambda: bool(self.failures))

    def hurry(self) -> None:
        """When the server stops: wait neither for transactions nor for packs any more."""
        for served in self.served.values():
            served.packs.interrupt()
        self._end_drain()

    def _end_drain(self) -> None:
        if not self._drained.called:
            self._drained.callback(None)

    def _close_storages(self) -> Deferred[None]:
        """Close all storages, even if one fails."""
        if self._is_shared:
            return self._in_thread(self._close_each)
        return maybeDeferred(self._close_each)

    def _close_each(self) -> None:
        for name, storage in self._storages.items():
            try:
                storage.close()
            except Exception as error:
                self._log.failure("storage {name!r} cannot be closed", name=name)
                self.failures.append(error)

    def stopService(self) -> Deferred[None]:
        """Stop listening, let commits finish, disconnect the clients, close the storages.

        Return a Deferred that fires when all this is done. `failures` has what has failed.
        """
        return Deferred.fromCoroutine(self._stop())

    def _stop_pools(self) -> Deferred[None]:
        """Return a Deferred that fires when all threads of the server have ended.

        Another thread waits for them. A long pack would block the reactor's thread.
        """
        for idling in self._idling:
            idling.prepare_stop()

        engines = [served.engine for served in self.served.values()]
        for engine in engines:
            if engine.records is not None:
                engine.records.close()

        def stop() -> None:
            for engine in engines:
                engine.stop()
            for pool in self._pools:
                pool.stop()

        return self._in_thread(stop)

    def _in_thread(self, function: Callable[[], object]) -> Deferred[None]:
        done: Deferred[None] = Deferred()

        def run() -> None:
            function()
            self._reactor.callFromThread(done.callback, None)

        Thread(target=run, name="zeotwisted stop", daemon=True).start()
        return done

    def _commit_threads(self, storage_id: str, count: int) -> Callable[..., Deferred[Any]]:
        if count > 1:
            return self._pool(f"commits of {storage_id}", count)
        thread = CommitThread(f"zeotwisted commits of {storage_id}", self._reactor.callFromThread)
        self._pools.append(thread)
        return thread.run

    def _pool(self, name: str, threads: int) -> Callable[..., Deferred[Any]]:
        pool = IdlingPool(self._reactor, f"zeotwisted {name}", threads)
        self._pools.append(pool)
        self._idling.append(pool)
        return pool.run


def _place(address: Any) -> tuple[str, int] | str:
    """Return an address of Twisted's in the form that a client accepts."""
    name = getattr(address, "name", None)
    return (address.host, address.port) if name is None else os.fsdecode(name)


class _Listener(Service):
    """One address at which a server listens.

    Twisted's StreamServerEndpointService only logs an error if it cannot listen. The daemon would
    then run without a port.
    """

    _log = Logger()

    def __init__(
        self, endpoint: IStreamServerEndpoint, description: str, factory: StorageServerFactory
    ) -> None:
        self._endpoint = endpoint
        self._description = description
        self.factory = factory
        #: The port that the endpoint returned; None while it does not listen.
        self.port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        listening = self._endpoint.listen(self.factory)
        failures: list[Exception] = []
        listening.addCallbacks(self._listening, lambda failure: failures.append(failure.value))
        if failures:
            raise ListeningError(f"cannot listen at {self._description}: {failures[0]}")

    def _listening(self, port: IListeningPort) -> None:
        self.port = port
        self._log.info("listening at {address}", address=port.getHost())

    def stopService(self) -> Any:
        if self.port is not None:
            return self.port.stopListening()
        return None
