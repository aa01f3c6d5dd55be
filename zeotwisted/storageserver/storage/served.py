"""A storage as the daemon serves it: its published state and its listeners."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from ZODB.POSException import StorageError
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import z64
from zope.interface import providedBy

from zeotwisted.protocol import Broadcast

from ..engine import DatabaseFailed, Engine, OwnCommit
from ..figures import StorageReport
from ..floods import brief
from ..limits import Limits
from ..options import ServerOptions
from ..popularity import Popularity
from ..speculation import Speculation
from ..turns import FairTurns
from .allowedclasses import EVERYTHING, AllowedClasses, default_classes
from .audience import Audience
from .changes import (
    LONGEST_AT_START,
    last_changes,
    last_transaction,
    read_changes,
    starts_anywhere,
)
from .commitlock import CommitLock
from .followers import Followers
from .invalidations import InvalidationQueue
from .listener import Listener, Undecided
from .loads import Loads, RecordsInThreads, answers_at_once
from .outside import Database, SharedNews
from .packing import Packs
from .packtime import pack_time
from .publications import Publication, Publications
from .readers import Readers
from .recordcache import RecordCache
from .records import Records
from .resolution import Resolver, install, leave_to_client
from .sizes import KnownSizes
from .standby import StandbyControl
from .status import StorageStats
from .temporary import ensure_temporary_folder
from .threads import InThread, Threads
from .tids import TidClock, holds, takes_tids
from .usable import has_closed

__all__ = ["ServedStorage"]

#: The default of `ServerOptions.invalidation_age` (seconds), for storages that can read their last
#: transactions fast.
_AGE = 86400.0

#: How many loads run at the same time if they need no threads.
_MOST_QUICK_LOADS = 64

#: How long (seconds) a client may hold locks of the database that other servers use, too, if
#: `ServerOptions.transaction_timeout` says nothing.
_SHARED_TIMEOUT = 30.0

#: How many slow calls of clients (undo logs, iterations) run at the same time: if the storage is in
#: this process, and if it waits for another one.
_FEW_SLOW_CALLS = 2
_MANY_SLOW_CALLS = 8

#: How many slow calls of a client may wait before it counts as one that has many.
_FEW_WAITING = 10


class ServedStorage:
    """One storage of a server, and everything that its clients share.

    Call all methods in the reactor's thread, except those that say otherwise.

    :param storage_id: the name under which clients register for the storage.
    :param engine: serves the storage.
    :param limits: what clients may have; None to make the limits of `options`.
    """

    _log = Logger()

    def __init__(
        self,
        storage_id: str,
        engine: Engine,
        options: ServerOptions,
        threads: Threads,
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits(options, threads.clock)
        self.storage_id = storage_id
        self.engine = engine
        storage = engine.storage
        #: A unique name of this served storage. It does not depend on the server's address.
        self.instance = uuid4().hex
        self.storage = storage
        self.options = options
        self.read_only = options.read_only or engine.is_replica or storage.isReadOnly()
        self.call_from_thread = threads.call_from_thread
        self.commit_in_thread = threads.commit_in_thread
        self.in_thread = threads.in_thread
        self.stats = StorageStats()
        self.lock = CommitLock(threads.clock, storage_id, self._timeout, engine.votes)
        self._audience = Audience()
        #: Sends what the clients have been told; see `Audience.send`.
        self.send_news = self._audience.send
        self.publications = Publications(self._publish, self.send_news, threads.call_from_thread)
        #: Makes the tids of transactions; None if the storage has to make them.
        self.tids = None if engine.is_shared or not takes_tids(storage) else TidClock()
        #: Whether a commit has failed there, so that it may have to be brought in order.
        self.may_be_disordered = False
        #: Why the storage cannot be used any more; an empty text while it can.
        self.unusable = ""
        #: Why it cannot be used for now; an empty text while it can.
        self.suspended = ""
        #: The commits in a shared storage that wait for their publication.
        self.own_commits: set[OwnCommit] = set()
        #: Follows another storage, and writes this one; None if clients write it.
        self.standby: StandbyControl | None = None
        #: The standbys of this storage.
        self.followers = Followers(
            threads.clock,
            storage_id,
            0.0 if engine.is_shared else options.synchronous_standby,
            lambda: self.last_transaction,
        )
        #: Called with that reason.
        self.when_unusable: Callable[[str], object] = lambda reason: None
        #: The undecided transactions, by the tids that their clients received with the vote.
        self.undecided: dict[bytes, Undecided] = {}
        #: Loads the records.
        self.records = Records(
            storage,
            RecordCache(options.record_cache_bytes),
            None if answers_at_once(storage) else self._make_loads(threads),
            self.followers.last_shown,
            engine.remote,
        )
        #: Guesses what clients ask for next.
        self.speculation = Speculation(self.records.find, bring=self.records.bring)
        #: Knows what clients use most.
        self.popularity = Popularity()
        # Lets a few slow calls of clients run at a time. A thread that computes slows down the
        # reactor's thread; a thread that waits for a slow storage does not.
        most = _FEW_SLOW_CALLS if self.answers_at_once else _MANY_SLOW_CALLS
        self._slow_turns = FairTurns(most)
        # The same for clients that have many of them: a half is for other clients.
        self._crowd = FairTurns(most // 2)
        #: The packs, which the server interrupts when it stops.
        self.packs = Packs(storage_id, storage)
        self.readers = Readers(threads.clock.seconds)
        #: The reactor, for timers.
        self.clock = threads.clock
        self._sizes = KnownSizes(self.sizes, self.call, threads.clock)
        self._refreshing: set[Deferred[None]] = set()
        with contextlib.suppress(OSError):
            # Read the folder's permissions now. Another process may remove the folder later, and it
            # is then created with these permissions.
            ensure_temporary_folder(storage)
        #: Whether all conflicts are left to clients. A shared storage resolves them with what it
        #: has loaded before, and that is not what the client has loaded.
        self.leaves_all = options.client_conflict_resolution or engine.is_shared
        #: Whether conflicts may be left to clients.
        self.leaves_conflicts = self.leaves_all or not _may_use_all_classes(options)
        lost_track = partial(threads.call_from_thread, self.lost_track)
        storage.registerDB(Database(self.publications, lost_track, not engine.is_shared))
        if self.leaves_conflicts:
            engine.lending.prepare(partial(install, resolve=self._resolver()))
        self._invalidations = self._known_invalidations(LONGEST_AT_START)
        suspend = partial(threads.call_from_thread, self.suspend)
        resume = partial(threads.call_from_thread, self.resume)
        engine.start(SharedNews(self.publications, lost_track, suspend, resume))

    @property
    def answers_at_once(self) -> bool:
        """Whether the storage is fast enough for the reactor's thread."""
        return self.records.loads is None

    @property
    def tells_tids(self) -> bool:
        """Whether clients are told the tid of a transaction with its vote."""
        remote = self.engine.remote
        return self.tids is not None or (remote is not None and remote.tells_tids)

    @property
    def is_behind(self) -> bool:
        """Whether others commit in the storage, so that there may be more than is published."""
        return self.engine.is_shared or self.engine.remote is not None

    @property
    def _timeout(self) -> float | None:
        default = _SHARED_TIMEOUT if self.engine.votes > 1 else None
        return self.options.transaction_timeout or default

    def _make_loads(self, threads: Threads) -> Loads:
        if self.engine.records is not None:
            return Loads(self.engine.records, _MOST_QUICK_LOADS)
        return Loads(RecordsInThreads(self.storage, threads.load_in_thread))

    def _resolver(self) -> Callable[..., bytes]:
        classes = self.options.conflict_classes
        if self.leaves_all:
            return leave_to_client
        return Resolver(AllowedClasses(classes or default_classes(False))).resolve

    def _known_invalidations(self, longest: float) -> InvalidationQueue:
        size, most = self.options.invalidation_queue_size, self.options.invalidation_queue_bytes
        # From now on, clients are notified of commits from outside.
        last = last_transaction(self.storage)
        recent: Sequence[tuple[bytes, Sequence[bytes]]] = ()
        if self.engine.remote is not None:
            # It is asked when a client wants to know.
            return InvalidationQueue(size, most, last)
        try:
            recent = last_changes(self.storage, size, longest)
        except Exception as error:
            # Clients that reconnect drop their caches; apart from that the storage can be served.
            self._log.warn(
                "storage {id!r} cannot tell its last transactions, so that clients which come back "
                "may drop their caches: {kind}: {error}",
                id=self.storage_id,
                kind=type(error).__name__,
                error=brief(error),
            )
        return InvalidationQueue(size, most, last, [entry for entry in recent if entry[0] <= last])

    @property
    def last_transaction(self) -> bytes:
        """The tid of the last published transaction.

        The storage may already have later ones.
        """
        return self._invalidations.last

    def register(self, listener: Listener) -> bytes:
        """Add a client; return the last tid. The client is notified of every later transaction."""
        self._audience.add(listener)
        return self.last_transaction

    def up_to_date(self) -> Deferred[None]:
        """Return a Deferred that fires when all is published that is committed now.

        :raises ZODB.POSException.StorageError: the database cannot be reached.
        """
        done: Deferred[None] = Deferred()
        self._refreshing.add(done)
        self.engine.refresh(lambda: self.call_from_thread(self._refreshed, done))
        return done

    def _refreshed(self, done: Deferred[None]) -> None:
        if done in self._refreshing:
            self._refreshing.discard(done)
            done.callback(None)

    def unregister(self, listener: Listener) -> None:
        """Remove a client."""
        self._audience.remove(listener)
        self.followers.left(listener)
        self.readers.ends(listener)
        self.records.leave(listener)
        self.speculation.leave(listener)
        self.popularity.leave(listener)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the storage that is fast if the storage is in this process.

        Return its result, or a Deferred of it if it runs in a thread.
        """
        return function(*args) if self.answers_at_once else self.in_thread(function, *args)

    async def run_slow(
        self, client: object, waiting: int, function: Callable[..., Any], *args: Any
    ) -> Any:
        """Run a slow call when it is the client's turn, and return its result.

        :param waiting: how many more slow calls of the client wait.
        :param function: returns a Deferred of the result.
        """
        if waiting <= _FEW_WAITING:
            return await self._slow_turns.run(client, function, *args)
        return await self._crowd.run(client, self._slow_turns.run, client, function, *args)

    def _publish(self, publication: Publication) -> None:
        tid, oids = publication.tid, publication.oids
        if tid > self.last_transaction:
            self._invalidations.append(tid, oids)
        self.records.changed(tid, oids)
        self.speculation.changed(oids)
        news = Broadcast("invalidateTransaction", tid, oids)
        was_told = self.followers.was_told
        self._audience.tell(news, lambda each: each is publication.origin or was_told(each, tid))

    def lost_track(self) -> None:
        """Disconnect all clients, because the storage does not know which objects have changed.

        The clients verify their caches when they reconnect.
        """
        self._invalidations.forget()
        self.records.forget()
        try:
            # The clients wait: do not read the storage from its first transaction on.
            self._invalidations = self._known_invalidations(0)
        except Exception:
            self._log.failure("storage {id!r} cannot tell its last transaction", id=self.storage_id)
        self._audience.drop("the storage has lost track of changes; the client has to verify")

    def follow(self, standby: StandbyControl) -> None:
        """Let a standby write the storage, and let clients only read it."""
        self.standby = standby
        self.read_only = True

    def lead(self) -> None:
        """Let clients write the storage, which has followed another one.

        Those that want to write are disconnected, so that they register again at once.
        """
        self.standby = None
        self.read_only = self.options.read_only
        self._audience.drop(
            "the storage takes changes from now on, and the client may write",
            lambda each: each.wants_to_write,
        )

    def promote(self) -> Deferred[dict[str, Any]]:
        """Make a standby a primary; see `StandbyControl`.

        :raises ZODB.POSException.StorageError: it is none.
        """
        if self.standby is None:
            raise StorageError(f"storage {self.storage_id!r} is no standby; it follows no other")
        return self.standby.promote()

    def has_closed(self) -> bool:
        """Return whether the storage has closed itself; disconnect all clients if it has.

        Call this after an exception that is not expected.
        """
        if has_closed(self.storage):
            self.give_up("the storage has closed its file")
        return bool(self.unusable)

    def give_up(self, reason: str) -> None:
        """Disconnect all clients, because the storage cannot be used any more.

        :param reason: see `why_unusable`.
        """
        if self.unusable:
            return
        self.unusable = reason
        self._log.critical(
            "storage {id!r} cannot be used any more, because the disk or the storage failed while "
            "it finished a transaction ({reason}); check the disk, then start the server again",
            id=self.storage_id,
            reason=brief(reason),
        )
        self._audience.drop("the storage cannot be used any more")
        self.when_unusable(reason)

    def suspend(self, reason: str) -> None:
        """Disconnect all clients, because the database cannot be reached.

        They look for another server meanwhile. Those that commit ask for the outcome later.
        """
        self.suspended = reason
        self.records.forget()
        self._log.critical(
            "storage {id!r} is not served for now: {reason}",
            id=self.storage_id,
            reason=brief(reason),
        )
        self._audience.drop("the server has lost its database")
        for own in list(self.own_commits):
            own.failed(Failure(DatabaseFailed(reason)))
        refreshing, self._refreshing = self._refreshing, set()
        for done in refreshing:
            done.errback(StorageError(reason))

    def resume(self) -> None:
        """Serve clients again."""
        self.suspended = ""
        self._log.info("storage {id!r} is served again", id=self.storage_id)

    def known_invalidations(self, tid: bytes) -> tuple[bytes, bytes] | None:
        """Return ``(last tid, oids changed after tid)`` from the queue of invalidations.

        The oids are joined, and may occur more than once. None if the queue does not contain all
        transactions after `tid`.
        """
        return self._invalidations.since(tid)

    def has_published(self, tid: bytes) -> bool:
        """Return whether a transaction is known to be one of this storage's."""
        return not self.engine.is_shared or self._invalidations.knows(tid)

    def may_read_changes(self, tid: bytes) -> bool:
        """Return whether `tid` is young enough for `read_changes`."""
        age = self.options.invalidation_age
        if age is None:
            fast = self.engine.remote is not None or starts_anywhere(self.storage)
            age = _AGE if fast else 0.0
        if not age or tid == z64:
            return False
        return bool(self.clock.seconds() - TimeStamp(tid).timeTime() <= age)

    def read_changes(self, after: bytes, last: bytes) -> tuple[bytes, bytes] | None:
        """Return `last`, and the joined oids that were changed after the tid `after`, up to `last`.

        None if this takes too long. Call this in a thread: it reads the storage for some seconds.
        """
        remote = self.engine.remote
        if remote is None:
            return read_changes(self.storage, after, last)
        oids = remote.changes_since(after)
        # It may know later ones. The client is told of these when they have come here.
        return None if oids is None else (last, b"".join(oids))

    async def outcome(self, tid: bytes, oid: bytes | None, in_thread: InThread) -> bool:
        """Return whether a transaction is in the storage. Wait until it is finished or aborted.

        :param tid: the tid that its client received with the vote.
        :param oid: the oid of an object that the transaction changes.
        :param in_thread: runs a slow function for the client.
        """
        transaction = self.undecided.get(tid)
        if transaction is not None:
            await transaction.settle()
        if tid in self._invalidations:
            # A pack may have removed it from the storage in the meantime.
            return True
        remote = self.engine.remote
        if remote is not None:
            is_there: bool = await in_thread(remote.outcome, tid, oid)
            if is_there:
                # The client takes all up to this transaction for known.
                await self.up_to_date()
            return is_there
        committed: bool = await in_thread(holds, self.storage, tid, oid)
        return committed

    def outcome_of_mark(self, mark: bytes) -> bytes | None:
        """Return the tid of the transaction with a mark, or None; call this in a thread."""
        return self.engine.outcome(mark)

    @property
    def votes_at_once(self) -> bool:
        """Whether short votes may run in the reactor's thread.

        Not during a pack: the storage may hold its own lock for long, and would block the reactor.
        """
        return self.answers_at_once and not self.packs.running

    def pack_time(self, time: float, skew: float) -> float:
        """Return the time up to which to pack; see the function `pack_time`."""
        return pack_time(time, skew, self.last_transaction)

    async def pack(self, time: float) -> None:
        """Pack, in a thread; then send the new size of the storage to all clients."""
        await self.packs.run(self.in_thread, time)
        # The pack may have removed objects.
        self.records.forget()
        self._audience.tell(Broadcast("info", self.sizes()))
        self._audience.send()

    def sizes(self) -> dict[str, Any]:
        """Return the part of `info` that commits and packs change. Call this in any thread."""
        return {"length": len(self.storage), "size": self.storage.getSize()}

    def info(self) -> dict[str, Any]:
        """Return the facts about the storage that a client needs before it can use it."""
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

    @property
    def connections(self) -> int:
        """How many clients have registered for it."""
        return len(self._audience)

    def status(self) -> dict[str, Any]:
        """Return the status of the storage, as ``ruok`` tells it."""
        status = self.stats.report(
            connections=len(self._audience),
            lock_time=self.lock.locked_since,
            waiting=self.lock.waiting,
            timeout=self._timeout,
            last_transaction=self.last_transaction,
        )
        # Tools for ZEO compare all that a status has.
        if self.standby is not None:
            status["standby"] = self.standby.report()._asdict()
        if self.followers.waits:
            status["followers"] = self.followers.report()._asdict()
        return status

    @property
    def problem(self) -> str:
        """Why it cannot be used; empty if it can."""
        return self.unusable or self.suspended

    def report(self) -> StorageReport:
        """Return the state of the storage, for monitoring."""
        last = self.last_transaction
        sizes = self._sizes.known()
        return StorageReport(
            name=self.storage_id,
            title=self.storage.getName(),
            stats=self.stats,
            connections=len(self._audience),
            read_only=self.read_only,
            problem=self.problem,
            size=sizes.get("size"),
            objects=sizes.get("length"),
            last_transaction=None if last == z64 else TimeStamp(last).timeTime(),
            lock=self.lock.report(),
            queue=self._invalidations.report(),
            cache=self.records.cache.report(),
            packs=self.packs.report(),
            standby=None if self.standby is None else self.standby.report(),
            followers=self.followers.report(),
            readers=self.readers.report(),
        )


def _may_use_all_classes(options: ServerOptions) -> bool:
    classes = options.conflict_classes
    return classes is not None and EVERYTHING in classes
