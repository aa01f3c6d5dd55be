"""A storage as the daemon serves it: its published state and its listeners."""

from __future__ import annotations

import contextlib
import time as wallclock
from collections.abc import Callable, Sequence
from typing import Any, Protocol
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from ZODB.interfaces import IStorageWrapper
from ZODB.POSException import ConflictError, StorageError
from ZODB.serialize import referencesf
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import z64
from zope.interface import implementer, providedBy

from zeotwisted.protocol import Broadcast

from ..floods import Kind
from ..options import ServerOptions
from .changes import read_changes, starts_anywhere
from .commitlock import CommitLock
from .invalidations import InvalidationQueue
from .loads import Loads, answers_at_once
from .publications import Publication, Publications
from .status import StorageStats
from .temporary import ensure_temporary_folder
from .threads import Threads
from .tids import TidClock, holds, takes_tids

__all__ = ["Listener", "ServedStorage", "Undecided"]

#: How long (seconds) a client may be away for what it missed to be read from a storage that can do
#: that fast, unless the operator says otherwise.
_AGE = 86400.0


class Listener(Protocol):
    """A client that has registered for this storage."""

    label: str

    def tell(self, news: Broadcast) -> None:
        """Queue a broadcast. It leaves with the next message, or with `send`."""

    def send(self) -> None:
        """Send what is queued."""

    def drop(self, reason: str) -> None:
        """End its connection."""

    def admit(self, kind: Kind) -> bool:
        """Return whether to write one more log line of this kind about it."""


class Undecided(Protocol):
    """A transaction that is voted and not over."""

    def settle(self) -> Deferred[None]:
        """Return a Deferred that fires when the transaction is over."""


@implementer(IStorageWrapper)
class _Database:
    """The storage's database. The storage notifies it of transactions from outside."""

    def __init__(self, served: ServedStorage) -> None:
        self._served = served

    def invalidate(self, transaction_id: bytes, oids: Sequence[bytes]) -> None:
        self._served.publications.add(transaction_id, list(oids))

    def invalidateCache(self) -> None:
        self._served.call_from_thread(self._served.lost_track)

    references = staticmethod(referencesf)

    def transform_record_data(self, data: bytes) -> bytes:
        return data

    untransform_record_data = transform_record_data


class ServedStorage:
    """One storage of a server, and everything that its clients share.

    All methods belong to the reactor's thread.

    :param storage_id: the name by which clients ask for it.
    :param storage: provides ZODB.interfaces.IStorage.
    """

    _log = Logger()

    def __init__(
        self,
        storage_id: str,
        storage: Any,
        options: ServerOptions,
        threads: Threads,
    ) -> None:
        self.storage_id = storage_id
        #: A name that no other storage has, whatever address clients reach it by.
        self.instance = uuid4().hex
        self.storage = storage
        self.options = options
        self.read_only = options.read_only or storage.isReadOnly()
        self.call_from_thread = threads.call_from_thread
        self.commit_in_thread = threads.commit_in_thread
        self.in_thread = threads.in_thread
        self.stats = StorageStats()
        self.lock = CommitLock(threads.clock, storage_id, options.transaction_timeout)
        self.publications = Publications(self._publish, self.send_news, threads.call_from_thread)
        #: Makes the tids of transactions; None where the storage has to do it.
        self.tids = TidClock() if takes_tids(storage) else None
        #: Transactions that are voted and not over, by the tids that their clients received.
        self.undecided: dict[bytes, Undecided] = {}
        #: Loads that need a thread; None where they are done at once.
        self.loads = None if answers_at_once(storage) else Loads(storage, threads.in_thread)
        self._packs = 0
        self._clock = threads.clock
        # In the order of registration. A dict, because there may be many, and each may be removed.
        self._listeners: dict[Listener, None] = {}
        # The listeners with queued broadcasts that are not sent yet.
        self._told: list[Listener] = []
        with contextlib.suppress(OSError):
            # Read its permissions before another process removes it.
            ensure_temporary_folder(storage)
        storage.registerDB(_Database(self))
        if options.client_conflict_resolution:
            # ZODB has no other switch for it.
            storage.tryToResolveConflict = _leave_conflict_to_client
        self._invalidations = self._known_invalidations()

    def _known_invalidations(self) -> InvalidationQueue:
        size, most = self.options.invalidation_queue_size, self.options.invalidation_queue_bytes
        # From now on, clients are notified of commits from outside.
        last = self.storage.lastTransaction() or z64
        recent = getattr(self.storage, "lastInvalidations", lambda size: ())(size)
        return InvalidationQueue(size, most, last, [entry for entry in recent if entry[0] <= last])

    @property
    def last_transaction(self) -> bytes:
        """The last transaction that clients have been notified of.

        The storage itself may be ahead of it.
        """
        return self._invalidations.last

    def register(self, listener: Listener) -> bytes:
        """Add a client. It is notified of every transaction after the returned tid."""
        self._listeners[listener] = None
        return self.last_transaction

    def unregister(self, listener: Listener) -> None:
        """Remove a client."""
        del self._listeners[listener]

    def _publish(self, publication: Publication) -> None:
        tid, oids = publication.tid, publication.oids
        if tid > self.last_transaction:
            self._invalidations.append(tid, oids)
        if self.loads is not None:
            self.loads.changed(oids)
        news = Broadcast("invalidateTransaction", tid, oids)
        # A listener may unregister in `tell`. If one fails, the others must still be notified.
        for listener in list(self._listeners):
            if listener is not publication.origin:
                self._told.append(listener)
                self._attempt(listener, listener.tell, news)

    def send_news(self) -> None:
        """Send what was queued for the listeners.

        Answers are sent before invalidations: to send takes longer than to commit, and wakes
        processes that compete for the processor.
        """
        told, self._told = self._told, []
        for listener in told:
            self._attempt(listener, listener.send)

    def _attempt(self, listener: Listener, tell: Callable[..., None], *args: Any) -> None:
        try:
            tell(*args)
        except Exception:
            self._log.failure("({label}) cannot be told of a commit", label=listener.label)
            listener.drop("it could not be told of a commit")

    def lost_track(self) -> None:
        """The storage does not know what changed: clients have to find out by reconnecting."""
        self._invalidations.forget()
        try:
            self._invalidations = self._known_invalidations()
        except Exception:
            self._log.failure("storage {id!r} cannot tell its last transaction", id=self.storage_id)
        for listener in list(self._listeners):
            listener.drop("the storage has lost track of changes; the client has to verify")

    def known_invalidations(self, tid: bytes) -> tuple[bytes, bytes] | None:
        """Return ``(last tid, oids changed after tid)``, or None if that is not at hand.

        The oids are joined, and may occur more than once.
        """
        return self._invalidations.since(tid)

    def may_read_changes(self, tid: bytes) -> bool:
        """Return whether `tid` is young enough for `read_changes`."""
        age = self.options.invalidation_age
        if age is None:
            age = _AGE if starts_anywhere(self.storage) else 0.0
        if not age or tid == z64:
            return False
        return bool(self._clock.seconds() - TimeStamp(tid).timeTime() <= age)

    def read_changes(self, after: bytes, last: bytes) -> tuple[bytes, bytes] | None:
        """Find in the storage what was changed after one tid, up to another; in a thread.

        The oids are joined. None if it takes too long; the client waits meanwhile.
        """
        return read_changes(self.storage, after, last)

    async def outcome(self, tid: bytes, oid: bytes | None) -> bool:
        """Return whether a transaction is in the storage, as soon as it is over.

        :param tid: the tid that its client received with the vote.
        :param oid: an object that it changes.
        """
        transaction = self.undecided.get(tid)
        if transaction is not None:
            await transaction.settle()
        if tid in self._invalidations:
            # It may have been packed away in the meantime.
            return True
        committed: bool = await self.in_thread(holds, self.storage, tid, oid)
        return committed

    @property
    def votes_at_once(self) -> bool:
        """Whether short votes may be done in the reactor's thread.

        While it is packed a storage may keep its own lock for long.
        """
        return self.loads is None and not self._packs

    def pack_time(self, time: float, skew: float) -> float:
        """Return the time, at present or before, up to which to pack.

        :param time: what a client asks for, in seconds since 1970.
        :param skew: how many seconds that may be in the future.
        :raises ZODB.POSException.StorageError: it is later, or no time at all.
        """
        # The storage's own transactions may be ahead of a clock that was set back.
        now = max(wallclock.time(), TimeStamp(self.last_transaction).timeTime())
        # No comparison with "not a number" is true.
        if not time >= 0:
            raise StorageError(f"pack time {time!r} is not a number of seconds since 1970")
        if time > now + skew:
            raise StorageError(
                f"pack time {_shown(time)} is in the future: it is {_shown(now)} at the server; "
                "pass seconds since 1970, and compare the clocks of the hosts"
            )
        return min(time, now)

    async def pack(self, time: float) -> None:
        """Pack, in a thread; then tell all clients how large the storage is."""
        self._packs += 1
        try:
            await self.in_thread(self.storage.pack, time, referencesf)
        finally:
            self._packs -= 1
        self._broadcast_sizes()

    def sizes(self) -> dict[str, Any]:
        """Return the part of `info` that every commit changes."""
        return {"length": len(self.storage), "size": self.storage.getSize()}

    def _broadcast_sizes(self) -> None:
        news = Broadcast("info", self.sizes())
        for listener in list(self._listeners):
            listener.tell(news)
            listener.send()

    def info(self) -> dict[str, Any]:
        """Return what a client wants to know about the storage before it uses it."""
        storage = self.storage
        return self.sizes() | {
            "name": storage.getName(),
            "supportsUndo": self.supports_undo,
            "supports_record_iternext": hasattr(storage, "record_iternext"),
            "interfaces": tuple(
                (interface.__module__, interface.__name__)
                for interface in providedBy(storage).__iro__
            ),
        }

    @property
    def supports_undo(self) -> bool:
        """Whether clients may undo transactions."""
        supports_undo = getattr(self.storage, "supportsUndo", None)
        return supports_undo is not None and bool(supports_undo())

    def status(self) -> dict[str, Any]:
        """Return what `server_status` answers."""
        return self.stats.report(
            connections=len(self._listeners),
            lock_time=self.lock.locked_since,
            waiting=self.lock.waiting,
            timeout=self.options.transaction_timeout,
            last_transaction=self.last_transaction,
        )


def _shown(time: float) -> str:
    try:
        return wallclock.strftime("%Y-%m-%d %H:%M:%S UTC", wallclock.gmtime(time))
    except (OverflowError, OSError, ValueError):
        return f"{time:g}" if type(time) is float else "after all calendars"


def _leave_conflict_to_client(
    oid: bytes,
    committedSerial: bytes,
    oldSerial: bytes,
    newpickle: bytes,
    committedData: bytes = b"",
) -> bytes:
    raise ConflictError(oid=oid, serials=(committedSerial, oldSerial), data=newpickle)
