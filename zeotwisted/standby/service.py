"""The life of a standby: it follows its primary, is promoted, or refuses to follow."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from ZODB.POSException import POSKeyError, StorageError

from zeotwisted.clientstorage import (
    ChangedTransaction,
    Changes,
    StorageClient,
    anything,
    read_log,
)
from zeotwisted.config import StandbySettings
from zeotwisted.exceptions import AccessDenied, ClientDisconnected, NotInHistory
from zeotwisted.files import remove_file, replace_file
from zeotwisted.protocol import STANDBY
from zeotwisted.storageserver import ServedStorage, StandbyReport

from .copy import CannotCopy, Copy
from .history import Diverged, check_history
from .lag import Lag
from .marker import Marker

__all__ = ["Standby"]

#: How long (seconds) to wait after an error before the next attempt.
_PAUSE = 5.0


class State(Enum):
    """What a standby does. The values are for people."""

    WAITING = "waits for the primary"
    COPYING = "copies what it lacks"
    FOLLOWING = "has everything"
    FAILING = "tries again after an error"
    REFUSING = "refuses to follow"
    PROMOTED = "is promoted"


class Standby(Service):
    """Follows a primary, and writes what it has into a served storage.

    Clients may only read the storage meanwhile.

    :param served: the storage.
    :raises CannotCopy: the storage cannot be that of a standby.
    :raises ValueError: a setting can never work.
    """

    _log = Logger()

    def __init__(self, reactor: Any, served: ServedStorage, settings: StandbySettings) -> None:
        self._reactor = reactor
        self._served = served
        self._settings = settings
        self._copy = Copy(served.storage)
        self._marker = Marker(self._copy.path)
        self._client: StorageClient | None = None
        self._feed: Changes | None = None
        self._acknowledges = False
        self._state = State.WAITING
        self._problem = ""
        # The problem that the log has last told.
        self._told = ""
        self._last = self._copy.last()
        self._lag = Lag(reactor.seconds, settings.most_lag, served.storage_id, self._primary)
        self._clock = LoopingCall(self._look)
        self._clock.clock = reactor
        self._at_shutdown: Any = None
        self._stopping = False
        self._pause: Deferred[None] | None = None
        # Fires when nothing is written any more.
        self._over: list[Deferred[None]] = []
        self._is_running = False
        # Find mistakes in the settings now.
        self._make_client().close()
        if self._marker.is_set():
            self._state = State.PROMOTED
        else:
            served.follow(self)

    @property
    def _primary(self) -> str:
        return ", ".join(
            each if isinstance(each, str) else "{}:{}".format(*each)
            for each in self._settings.primary
        )

    # The service.

    def startService(self) -> None:
        """Begin to follow, unless the storage has been promoted."""
        super().startService()
        about = {"id": self._served.storage_id, "primary": self._primary}
        if self._state is State.PROMOTED:
            self._log.info(
                "storage {id!r} was promoted and does not follow {primary}; remove {path} to make "
                "it a standby again",
                path=self._marker.path,
                **about,
            )
            return
        self._log.info("storage {id!r} is a standby of {primary}", **about)
        self._copy.remove_leftovers()
        # Before the client, whose connection ends at a shutdown, too.
        self._at_shutdown = self._reactor.addSystemEventTrigger(
            "before", "shutdown", self._shut_down
        )
        self._clock.start(1.0)
        self._is_running = True
        Deferred.fromCoroutine(self._run()).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self._log.failure(
            "standby {id!r} cannot follow {primary} any more",
            failure,
            id=self._served.storage_id,
            primary=self._primary,
        )

    def stopService(self) -> Deferred[None]:
        """Stop to follow; return a Deferred that fires when nothing is written any more."""
        super().stopService()
        return self._end()

    def _shut_down(self) -> Deferred[None]:
        self._at_shutdown = None
        return self._end()

    def _end(self) -> Deferred[None]:
        self._stopping = True
        if self._at_shutdown is not None:
            self._reactor.removeSystemEventTrigger(self._at_shutdown)
            self._at_shutdown = None
        if self._clock.running:
            self._clock.stop()
        self._close()
        if self._pause is not None:
            self._pause.cancel()
        over: Deferred[None] = Deferred()
        if self._is_running:
            self._over.append(over)
        else:
            over.callback(None)
        return over

    def _close(self) -> None:
        self._close_feed()
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _close_feed(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()

    # See `storageserver.storage.standby.StandbyControl`.

    def report(self) -> StandbyReport:
        self._look()
        lag = 0.0
        if self._state is not State.FOLLOWING:
            lag = self._lag.seconds
        return StandbyReport(
            self._primary,
            self._state.value,
            self._problem,
            lag,
            self._settings.most_lag,
            self._last.hex(),
        )

    def promote(self) -> Deferred[dict[str, Any]]:
        return Deferred.fromCoroutine(self._promote())

    async def _promote(self) -> dict[str, Any]:
        # The connection may have been lost since the clock ticked.
        self._look()
        refused = self._problem if self._state is State.REFUSING else ""
        if refused:
            self._log.warn("a standby that refuses to follow is promoted: {why}", why=refused)
        had_everything = self._state is State.FOLLOWING
        await self._end()
        self._copy.skip_oids()
        note = self._marker.set(self._copy.last())
        self._state = State.PROMOTED
        self._served.lead()
        self._log.warn(
            "storage {id!r} is promoted, and takes changes from now on; its last transaction is "
            "{last}{rest}",
            id=self._served.storage_id,
            last=note["last"],
            rest="" if had_everything else "; what the primary committed after it is not here",
        )
        return note | {"complete": had_everything, "refused": refused}

    def _look(self) -> None:
        """Find out whether it has everything that the primary has told."""
        if self._state in (State.COPYING, State.FOLLOWING, State.WAITING):
            self._compare()
        if self._state is State.FOLLOWING:
            self._lag.has_everything()
        elif self._state not in (State.REFUSING, State.PROMOTED):
            self._lag.lacks(self._state.value)

    def _compare(self) -> None:
        client = self._client
        if client is None or not client.is_connected() or self._feed is None:
            self._state = State.WAITING
        elif self._feed.is_checked and self._last >= client.lastTransaction():
            self._state = State.FOLLOWING
        else:
            self._state = State.COPYING

    # Following.

    async def _run(self) -> None:
        try:
            while not self._stopping:
                await self._attempt()
                if self._state is State.REFUSING:
                    return
        finally:
            self._is_running = False
            over, self._over = self._over, []
            for each in over:
                each.callback(None)

    async def _attempt(self) -> None:
        """Follow until it fails."""
        try:
            await self._follow()
        except (Diverged, NotInHistory, CannotCopy) as error:
            self._refuse(error)
        except Exception as error:
            if not self._stopping:
                await self._wait_after(error)
                return
        self._close()

    async def _wait_after(self, error: Exception) -> None:
        """Wait before the next attempt."""
        client = self._client
        self._state = State.FAILING
        if isinstance(error, AccessDenied) and client is not None and not client.is_connected():
            # The client has told the log, and goes on trying.
            self._problem = str(error)
            self._close_feed()
        else:
            self._problem = f"{type(error).__name__}: {error}"
            if self._problem != self._told:
                self._told = self._problem
                self._tell(error)
            self._close()
        await self._wait()
        self._problem = ""
        self._state = State.WAITING

    async def _wait(self) -> None:
        if self._stopping:
            return
        self._pause = deferLater(self._reactor, _PAUSE)
        with suppress(CancelledError):
            await self._pause
        self._pause = None

    def _refuse(self, error: Exception) -> None:
        self._state = State.REFUSING
        self._problem = str(error)
        only_here = getattr(error, "only_here", [])
        if only_here:
            path = os.path.abspath(self._copy.path) + ".diverged"
            self._problem += f"; {path} names them all"
            replace_file(path, b"".join(b"%b\n" % tid.hex().encode() for tid in only_here), 0o644)
        self._log.critical(
            "standby {id!r} does not follow {primary}: {why}",
            id=self._served.storage_id,
            primary=self._primary,
            why=self._problem,
        )

    def _make_client(self) -> StorageClient:
        return StorageClient(
            self._reactor,
            list(self._settings.primary),
            read_only=True,
            cache_size=2**20,
            name=f"standby {self._served.storage_id}",
            client_label="standby",
            **self._settings.options,
        )

    async def _follow(self) -> None:
        client = self._client
        if client is None:
            client = self._client = self._make_client()
            client.start()
        self._last = self._copy.last()
        feed = self._feed = client.changes(self._last, records=True, check=self._check)
        async for transaction in feed:
            await self._write(client, transaction)
            self._look()

    async def _check(self, protocol: Any) -> None:
        """Compare the histories; then tell the primary what is here."""

        def read(start: bytes, stop: bytes, records: bool) -> AsyncIterator[ChangedTransaction]:
            return read_log(protocol, start, stop, records, anything)

        await check_history(self._copy, read, self._served.in_thread)
        self._acknowledges = bool(protocol.capabilities.get(STANDBY, {}).get("synchronous"))
        self._acknowledge()
        self._told = ""
        self._log.info(
            "standby {id!r} follows {primary} after transaction {last}",
            id=self._served.storage_id,
            primary=self._primary,
            last=self._last.hex(),
        )

    def _tell(self, error: Exception) -> None:
        if isinstance(error, (StorageError, OSError)):
            self._log.error(
                "standby {id!r} cannot follow {primary}, and tries again: {problem}",
                id=self._served.storage_id,
                primary=self._primary,
                problem=self._problem,
            )
        else:
            self._log.failure(
                "standby {id!r} cannot follow {primary}, and tries again: an internal error",
                id=self._served.storage_id,
                primary=self._primary,
            )

    def _acknowledge(self) -> None:
        if self._acknowledges and self._client is not None:
            sent = self._client.call("standby_has", self._last)
            sent.addErrback(self._not_acknowledged)

    def _not_acknowledged(self, failure: Failure) -> None:
        if failure.check(AccessDenied) is not None:
            self._acknowledges = False
            self._log.warn(
                "the commits at {primary} do not wait for standby {id!r}: {error}",
                primary=self._primary,
                id=self._served.storage_id,
                error=failure.value,
            )
            return
        # The next connection begins with it.
        failure.trap(ClientDisconnected)

    async def _write(self, client: StorageClient, transaction: ChangedTransaction) -> None:
        blobs: dict[bytes, str] = {}
        try:
            for record in transaction.records or ():
                if record.has_blob:
                    await self._download(client, record.oid, transaction.tid, blobs)
            await self._served.commit_in_thread(partial(self._copy.write, transaction, blobs))
        finally:
            for path in blobs.values():
                remove_file(path)
        self._last = transaction.tid
        self._served.publications.add(transaction.tid, transaction.oids)
        self._acknowledge()

    async def _download(
        self, client: StorageClient, oid: bytes, tid: bytes, blobs: dict[bytes, str]
    ) -> None:
        path = self._copy.blob_path(oid, tid)
        try:
            blobs[oid] = await client.loadBlob(oid, tid, path)
        except POSKeyError:
            self._log.warn(
                "the record of a blob (object {oid}, transaction {tid}) is copied without the blob,"
                " which is missing at the primary",
                oid=oid.hex(),
                tid=tid.hex(),
            )
