"""One client's transaction in one storage, through the phases of two-phase commit.

Up to the vote a transaction only collects what it has to do. The vote waits for the commit lock,
then does it all in the storage. What takes its time there runs in the storage's commit thread, so
that no other client has to wait for it: always the finish, which waits for the disk, and all votes
but those that are over in less time than two threads need to tell each other. What decides runs in
the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from transaction.interfaces import TransactionError
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError, StorageTransactionError, UndoError

from ..floods import Kind
from ..storage import Listener, ServedStorage
from ..turns import Turns
from .commitlog import CommitLog
from .operations import Operations
from .storagetransaction import StorageTransaction

__all__ = ["ALLOWED", "Phase", "ServerTransaction"]


class Phase(Enum):
    """How far a transaction is."""

    COLLECTING = "collecting changes"
    WAITING = "waiting for the commit lock"
    VOTING = "voting"
    VOTED = "voted"
    FINISHING = "finishing"
    ABORTING = "aborting"
    OVER = "over"


#: In which phase the client may ask for what. ``store`` stands for all that is collected. An abort
#: may come at any time; while finishing it comes too late.
ALLOWED: Mapping[str, Phase] = {
    "store": Phase.COLLECTING,
    "vote": Phase.COLLECTING,
    "tpc_finish": Phase.VOTED,
}

#: How often a vote may end with conflicts for the client to resolve. Stock clients give up after
#: that many, too, but go on to ``tpc_finish``.
_MAX_VOTES = 9


#: How many operations, and bytes, make a vote that is over sooner than two threads can tell each
#: other of it.
_QUICK_COUNT = 64
_QUICK_SIZE = 2**17


class ServerTransaction:
    """A transaction from ``tpc_begin`` to its end.

    :param id: the client's name for it.
    :param owner: the client's connection.
    :param tid: the transaction id to give to it, when a database is copied; None for a new one.
    :param status: likewise.
    """

    _log = Logger()

    def __init__(
        self,
        id: int,
        owner: Listener,
        served: ServedStorage,
        metadata: TransactionMetaData,
        tid: bytes | None,
        status: str,
    ) -> None:
        self.id = id
        self.phase = Phase.COLLECTING
        self.commit_log = CommitLog(served.options.spool_dir)
        self._owner = owner
        self._served = served
        self._in_storage = StorageTransaction(owner, served, metadata, tid, status)
        self._ended: list[Deferred[None]] = []
        self._votes = 0
        self._failure: Exception | None = None
        self._waiting: Deferred[bool] | None = None
        # An abort has to wait for the step that is being done in the thread.
        self._step = Turns()
        served.stats.active_txns += 1

    @property
    def tid(self) -> bytes | None:
        """What the client may ask for when it has lost the answer to ``tpc_finish``.

        It is known from the vote on, if at all.
        """
        return self._in_storage.tid

    @property
    def label(self) -> str:
        """How log lines call it."""
        return self._owner.label

    @property
    def over(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self.phase is Phase.OVER

    @property
    def has_lock(self) -> bool:
        """Whether it has the commit lock."""
        return self._served.lock.holder is self

    def admit(self, kind: Kind) -> bool:
        """See `commitlock.LockOwner`."""
        return self._owner.admit(kind)

    def lock_timed_out(self, seconds: float) -> None:
        """See `commitlock.LockOwner`."""
        self._owner.drop(f"its transaction held the commit lock for more than {seconds} seconds")

    def fail(self, error: Exception) -> None:
        """Note that an operation failed; the client cannot be told of it before the vote."""
        self._failure = self._failure or error

    def expect(self, what: str) -> None:
        """Check that the client may ask for `what` now.

        :raises StorageTransactionError: it may not.
        """
        if self.phase is not ALLOWED[what]:
            raise StorageTransactionError(f"{what} is not possible while {self.phase.value}")

    async def vote(self) -> list[Any]:
        """Do the transaction in the storage, up to the point where it can only succeed.

        Return the oids whose data is not what the client sent, or else, if there are conflicts that
        the client has to resolve, a dict for each of them.

        :raises StorageTransactionError: it was aborted in the meantime.
        """
        self.expect("vote")
        if self._failure is not None:
            self._end()
            raise self._failure
        self.phase = Phase.WAITING
        self._waiting = self._served.lock.acquire(self)
        if not await self._waiting:
            raise StorageTransactionError("aborted while waiting for the commit lock")
        self.phase = Phase.VOTING
        await self._step.acquire()
        try:
            return await self._voting()
        finally:
            self._step.release()

    async def _voting(self) -> list[Any]:
        served = self._served
        try:
            if served.votes_at_once and self._is_quick():
                operations = self._in_storage.vote(self.commit_log)
            else:
                operations = await served.commit_in_thread(self._in_storage.vote, self.commit_log)
        except BaseException as error:
            self._end()
            if isinstance(error, ConflictError):
                served.stats.conflicts += 1
            elif not isinstance(error, (TransactionError, UndoError)) and self.admit(Kind.COMMIT):
                self._log.failure("({label}) vote failed", label=self.label)
            raise
        if operations.conflicts:
            conflicts = list(operations.conflicts.values())
            self._votes += 1
            if self._votes >= _MAX_VOTES:
                self._end()
                served.stats.conflicts += 1
                raise ConflictError(
                    f"new conflicts have arisen {_MAX_VOTES} times while older ones were being "
                    "resolved",
                    oid=conflicts[0]["oid"],
                    serials=conflicts[0]["serials"],
                )
            self.phase = Phase.COLLECTING
            served.lock.release(self)
            return conflicts
        self.phase = Phase.VOTED
        if self.tid is not None:
            served.undecided[self.tid] = self
        served.stats.conflicts_resolved += len(operations.resolved)
        return list(operations.resolved)

    def _is_quick(self) -> bool:
        """Return whether the way to the commit thread and back would take longer than the vote."""
        log = self.commit_log
        return (
            len(log) <= _QUICK_COUNT
            and log.size <= _QUICK_SIZE
            and all(name in Operations.QUICK for name, _ in log)
        )

    async def finish(self) -> tuple[bytes, dict[str, Any]]:
        """Commit. Return the tid, and the new sizes of the storage.

        By then every other client's connection has been given the news, which it sends before
        anything that it is given later, or when this is `answered`. The commit lock is held
        until `answered` is called, which must be done in any case: the answer to this client has to
        be written before anything of the next transaction.
        """
        self.expect("tpc_finish")
        self.phase = Phase.FINISHING
        await self._step.acquire()
        try:
            tid, sizes = await self._served.commit_in_thread(self._in_storage.finish)
        except BaseException:
            if self.admit(Kind.COMMIT):
                self._log.failure("({label}) tpc_finish failed", label=self.label)
            self._served.publications.drain()
            self._end()
            self._step.release()
            raise
        self._served.publications.publish()
        self._served.stats.commits += 1
        return tid, sizes

    def answered(self) -> None:
        """The answer to ``tpc_finish`` has been written, or there is nobody to write it to.

        Only now the commit lock moves on, and an abort that came too late is told so.
        """
        try:
            if self.phase is Phase.FINISHING:
                self._end()
                self._step.release()
        finally:
            self._served.send_news()

    async def abort(self) -> None:
        """Give up, whatever the phase is; return when the storage and the lock are free of it.

        A transaction that is already being finished is finished.
        """
        if self.phase is Phase.WAITING and self._waiting is not None:
            self._waiting.cancel()
        await self._step.acquire()
        try:
            if self.phase in (Phase.FINISHING, Phase.OVER):
                return
            voted = self.phase is Phase.VOTED
            self.phase = Phase.ABORTING
            self._served.stats.aborts += 1
            try:
                if voted:
                    await self._served.commit_in_thread(self._in_storage.abort)
            finally:
                self._end()
        finally:
            self._step.release()

    def settle(self) -> Deferred[None]:
        """Return a Deferred that fires when it is over.

        Its client asks for the outcome on another connection, so nobody will finish it on this one
        any more, unless that has begun.
        """
        if self.phase is Phase.VOTED:
            self._owner.drop("its client has come back and asks what became of its transaction")
        ended: Deferred[None] = Deferred()
        self._ended.append(ended)
        return ended

    def _end(self) -> None:
        if self.phase is Phase.OVER:
            return
        self.phase = Phase.OVER
        if self.tid is not None and self._served.undecided.get(self.tid) is self:
            del self._served.undecided[self.tid]
        self._served.stats.active_txns -= 1
        self.commit_log.close()
        if self._served.lock.holder is self:
            self._served.lock.release(self)
        ended, self._ended = self._ended, []
        for each in ended:
            each.callback(None)
