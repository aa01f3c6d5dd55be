"""One client's transaction in one storage, through the phases of two-phase commit.

Before the vote a transaction only collects operations. The vote waits for the commit lock, then
does all of them in the storage.

Slow steps run in the storage's commit thread, so that no other client waits for them. The finish is
always slow, because it waits for the disk. A vote is slow unless it takes less time than the change
to the commit thread and back. All other code here runs in the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from transaction.interfaces import TransactionError
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError, POSError, StorageTransactionError, UndoError

from zeotwisted.exceptions import ClientDisconnected, TransactionTimeout
from zeotwisted.files import is_full

from ..figures import TransactionReport
from ..floods import Kind, brief
from ..storage import Listener, ServedStorage
from ..turns import Turns
from .commitlog import CommitLog
from .operations import Operations
from .storagetransaction import StorageTransaction

__all__ = ["ALLOWED", "Phase", "ServerTransaction"]


class Phase(Enum):
    """The phase of a transaction. The value is the text for error messages."""

    COLLECTING = "collecting changes"
    WAITING = "waiting for the commit lock"
    VOTING = "voting"
    VOTED = "voted"
    FINISHING = "finishing"
    ABORTING = "aborting"
    OVER = "over"


#: The phase in which a client may make each call. ``store`` means all operations that are
#: collected. An abort is allowed in any phase; it has no effect while the transaction is finishing.
ALLOWED: Mapping[str, Phase] = {
    "store": Phase.COLLECTING,
    "vote": Phase.COLLECTING,
    "tpc_finish": Phase.VOTED,
}

#: The phases of a transaction that the server has aborted by itself, or is aborting.
_ABORTED = frozenset({Phase.ABORTING, Phase.OVER})

#: The vote with this number fails if it has conflicts for the client to resolve. Stock clients stop
#: resolving conflicts after the same number of votes, but they continue with ``tpc_finish``.
_MAX_VOTES = 9


#: How many operations and bytes a vote in the reactor's thread may have. Such a vote takes less
#: time than the change to the commit thread and back.
_QUICK_COUNT = 64
_QUICK_SIZE = 2**17

#: How many bytes of a user or a description a report has.
_LONGEST_SHOWN = 200


class ServerTransaction:
    """A transaction from ``tpc_begin`` to its end.

    :param id: the client's number for the transaction.
    :param owner: the client's connection.
    :param tid: the transaction id, if the client copies a database; None for a new one.
    :param status: the status, if the client copies a database; otherwise a space.
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
        self.commit_log = CommitLog(served.options.spool_dir, served.limits.transactions)
        self._owner = owner
        self._served = served
        self._in_storage = StorageTransaction(owner, served, metadata, tid, status)
        self._ended: list[Deferred[None]] = []
        self._votes = 0
        # How many conflicts the last vote has left to the client.
        self._left_to_client = 0
        self._failure: Exception | None = None
        self._waiting: Deferred[bool] | None = None
        self._metadata = metadata
        self._begun = served.lock.seconds()
        # A lock for the steps in the commit thread: an abort must wait for the step that runs.
        self._step = Turns()
        served.stats.active_txns += 1

    @property
    def tid(self) -> bytes | None:
        """The transaction id, from the vote on; None if the server cannot choose it.

        A client that has not received the answer to ``tpc_finish`` can ask for the outcome by it.
        """
        return self._in_storage.tid

    @property
    def mark(self) -> bytes | None:
        """See `StorageTransaction.mark`."""
        return self._in_storage.mark

    @property
    def label(self) -> str:
        """The name of the client in log lines."""
        return self._owner.label

    @property
    def number(self) -> int:
        """See `commitlock.LockOwner`."""
        return self._owner.number

    @property
    def over(self) -> bool:
        """Whether the transaction is finished or aborted."""
        return self.phase is Phase.OVER

    @property
    def has_lock(self) -> bool:
        """Whether the transaction has the commit lock."""
        return self._served.lock.is_held_by(self)

    def admit(self, kind: Kind) -> bool:
        """See `commitlock.LockOwner`."""
        return self._owner.admit(kind)

    @property
    def about(self) -> str:
        """See `commitlock.LockOwner`."""
        return f"{self.label} (user {_shown(self._metadata.user)})"

    @property
    def log_fields(self) -> dict[str, Any]:
        """See `commitlock.LockOwner`."""
        return self._in_storage.log_fields

    @property
    def details(self) -> str:
        """See `commitlock.LockOwner`."""
        age = self._served.lock.seconds() - self._begun
        tid = "" if self.tid is None else f" {self.tid.hex()}"
        return (
            f"its transaction{tid} of user {_shown(self._metadata.user)} "
            f"({_shown(self._metadata.description)}) began {age:.0f} seconds ago and changes "
            f"{len(self.commit_log)} objects by {self.commit_log.size} bytes"
        )

    def report(self) -> TransactionReport:
        """Return its state, for monitoring."""
        return TransactionReport(
            self.phase.value,
            self._served.lock.seconds() - self._begun,
            _shortened(self._metadata.user),
            _shortened(self._metadata.description),
            len(self.commit_log),
            self.commit_log.size,
        )

    def lock_timed_out(self, seconds: float) -> None:
        """See `commitlock.LockOwner`."""
        if not self._owner.takes_timeouts:
            self._owner.drop(
                f"its transaction held the commit lock for more than {seconds} seconds"
            )
            return
        self._failure = TransactionTimeout(
            f"the server has aborted the transaction, because it held the commit lock of storage "
            f"{self._served.storage_id!r} for more than {seconds:g} seconds after its vote "
            "(transaction-timeout)"
        )
        aborted = Deferred.fromCoroutine(self.abort())
        aborted.addErrback(
            lambda failure: self._log.failure("({label}) abort failed", failure, **self.log_fields)
        )

    def waited_too_long(self, seconds: float, blocker: str) -> None:
        """See `commitlock.LockOwner`."""
        self._failure = TransactionTimeout(
            f"the transaction has waited {seconds:g} seconds for the commit lock of storage "
            f"{self._served.storage_id!r}, {blocker}"
        )
        if self.admit(Kind.LOCK):
            self._log.info("({label}) gave up: {error}", error=self._failure, **self.log_fields)
        waiting = self._waiting
        if waiting is not None:
            waiting.cancel()

    def fail(self, error: Exception) -> None:
        """Keep the first error of an operation; `vote` raises it.

        The calls of operations have no answers, so the client gets the error only from its vote.
        """
        self._failure = self._failure or error

    def expect(self, what: str) -> None:
        """Check that the client may make the call `what` in this phase.

        :raises StorageTransactionError: it may not.
        """
        if self._failure is not None and self.phase in _ABORTED:
            raise self._failure
        if self.phase is not ALLOWED[what]:
            raise StorageTransactionError(f"{what} is not possible while {self.phase.value}")

    async def vote(self, patience: float | None = None) -> list[Any]:
        """Wait for the commit lock, do the operations in the storage, and vote there.

        Return the oids whose stored data differs from the data that the client sent. If there are
        conflicts for the client to resolve, return a dict for each of them instead.

        :param patience: how long (seconds) to wait for the lock; None: for ever.
        :raises StorageTransactionError: the transaction was aborted while it waited.
        :raises TransactionTimeout: it has waited for longer than `patience`.
        """
        self.expect("vote")
        if self._failure is not None:
            self._end()
            raise self._failure
        self.phase = Phase.WAITING
        self._waiting = self._served.lock.acquire(self, patience)
        if not await self._waiting:
            if self._failure is not None:
                self._end()
                raise self._failure
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
            elif (
                not isinstance(error, (TransactionError, UndoError))
                and not served.has_closed()
                # The connection logs one line. A traceback says nothing more.
                and not is_full(error)
                and self.admit(Kind.COMMIT)
            ):
                self._log.failure("({label}) vote failed", **self.log_fields)
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
            self._left_to_client = len(conflicts)
            served.lock.release(self)
            return conflicts
        self.phase = Phase.VOTED
        # There is no other vote, which would need them again.
        self.commit_log.remove_files()
        served.lock.waits_for_client(self)
        if self.tid is not None:
            served.undecided[self.tid] = self
        served.stats.conflicts_resolved += len(operations.resolved) + self._left_to_client
        return operations.undone + operations.resolved

    def _is_quick(self) -> bool:
        """Return whether the vote takes less time than the change to the commit thread and back."""
        log = self.commit_log
        return (
            len(log) <= _QUICK_COUNT
            and log.size <= _QUICK_SIZE
            and all(name in Operations.QUICK for name, _ in log)
        )

    async def finish(self) -> tuple[bytes, dict[str, Any]]:
        """Commit. Return the tid, and the new sizes of the storage.

        The invalidation is then queued for every other client. It is sent before any later message
        to that client, or by `answered`. Transactions from outside that came later wait for that.

        The caller must write the answer, and then call `answered` in any case, even if the client
        is gone. The transaction holds the commit lock until then, so the answer is written before
        any message about the next transaction.
        """
        self.expect("tpc_finish")
        self.phase = Phase.FINISHING
        self._served.lock.stop_waiting(self)
        await self._step.acquire()
        try:
            tid, sizes = await self._in_storage.finish()
        except BaseException as error:
            if not self._is_told(error) and self.admit(Kind.COMMIT):
                self._log.failure("({label}) tpc_finish failed", **self.log_fields)
            self._in_storage.answered()
            self._served.publications.drain()
            self._end()
            self._step.release()
            raise
        # Nobody hears of the transaction before a standby has it: if this machine is lost now, the
        # transaction is lost, or the standby has it.
        replicated = self._in_storage.replicated(tid)
        if replicated is not None:
            await replicated
        self._in_storage.publish()
        self._served.stats.commits += 1
        return tid, sizes

    def _is_told(self, error: BaseException) -> bool:
        """Return whether it is in the log already, in one line, what has failed."""
        if isinstance(error, ClientDisconnected):
            return True
        return self._served.engine.is_shared and isinstance(error, POSError)

    def answered(self) -> None:
        """Release the commit lock, publish what came later, and send all news to the clients.

        Call this when the answer to ``tpc_finish`` has been written, or the client is gone. An
        abort that waits for the finish returns then.
        """
        try:
            if self.phase is Phase.FINISHING:
                self._end()
                self._step.release()
            self._in_storage.answered()
        finally:
            self._served.publications.drain()

    async def abort(self) -> None:
        """Abort, in any phase; return when the storage has aborted and the lock is released.

        If the transaction is finishing, wait for the finish instead.
        """
        if self.phase is Phase.WAITING and self._waiting is not None:
            self._waiting.cancel()
        await self._step.acquire()
        try:
            if self.phase in (Phase.FINISHING, Phase.OVER):
                return
            voted = self.phase is Phase.VOTED
            if voted:
                self._served.lock.stop_waiting(self)
            if self._left_to_client and self.phase is Phase.COLLECTING:
                # The client cannot resolve them either.
                self._served.stats.conflicts += 1
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
        """Return a Deferred that fires when the transaction is finished or aborted.

        The client asks for the outcome on a new connection, so it does not use the old one any
        more. If the transaction is not finishing yet, the old connection is closed, which aborts
        the transaction.
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
        try:
            self.commit_log.close()
        finally:
            if self._served.lock.is_held_by(self):
                self._served.lock.release(self)
        ended, self._ended = self._ended, []
        for each in ended:
            each.callback(None)


def _shortened(text: bytes) -> str:
    return brief(text[:_LONGEST_SHOWN].decode("utf-8", "replace"))


def _shown(text: bytes) -> str:
    """Return the user or the description of a transaction for messages."""
    return brief(repr(text.decode("utf-8", "replace")))
