"""One transaction in the storage: its begin, its vote, and its end.

The client's transaction has the commit lock meanwhile, and does one step at a time. The steps run
in the storage's commit thread; short votes run in the reactor's thread. `transaction` decides when
to do each step.
"""

from __future__ import annotations

from typing import Any

from transaction.interfaces import TransactionError
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import POSError, UndoError
from ZODB.utils import z64

from zeotwisted.files import is_full

from ..engine import DatabaseFailed, OwnCommit, translated
from ..storage import Listener, Publication, ServedStorage, make_room, restore, why_unusable
from .commitlog import CommitLog
from .operations import Operations

__all__ = ["StorageTransaction"]

#: The exceptions of a vote that the data causes, and not the disk.
_USUAL = (TransactionError, UndoError)

#: How often to try a vote if the storage has lost its database. After a restart of the database,
#: the storage may have some connections of before.
_ATTEMPTS = 3


class StorageTransaction:
    """The steps of two-phase commit in a storage, for one client's transaction.

    :param owner: the client's connection. It is not notified of its own commit.
    :param tid: the transaction id, if the client copies a database; None for a new one.
    :param status: the status, if the client copies a database; otherwise a space.
    """

    _log = Logger()

    def __init__(
        self,
        owner: Listener,
        served: ServedStorage,
        metadata: TransactionMetaData,
        tid: bytes | None,
        status: str,
    ) -> None:
        self._owner = owner
        self._served = served
        self._metadata = metadata
        #: The transaction id, from the vote on; None if the server cannot choose the storage's ids.
        self.tid = tid if served.tids is not None else None
        #: By which any server of the same database can find the transaction, from the vote on;
        #: None if there are no marks.
        self.mark: bytes | None = None
        self._given_tid = tid
        self._status = status
        self._changed: list[bytes] = []
        # The engine's storage, from the begin of the vote to the end.
        self._storage: Any = None
        # The commit in a shared storage, from the begin of its finish.
        self._own: OwnCommit | None = None
        # Its places in the queue of publications. It has more than one if the storage says so.
        self._publications: list[Publication] = []

    @property
    def log_fields(self) -> dict[str, Any]:
        """The client, the storage and the transaction id, as values of log events."""
        return {
            "label": self._owner.label,
            "storage_id": self._served.storage_id,
            "transaction": self.tid,
        }

    def vote(self, commit_log: CommitLog) -> Operations:
        """Begin the transaction, do the operations of the log, and vote; return their results.

        If this raises, or if there are conflicts for the client to resolve, the transaction is
        aborted in the storage.
        """
        if not self._served.engine.is_shared:
            return self._vote(commit_log)
        # The storage moves blobs when it gets them.
        attempts = _ATTEMPTS if all(name in Operations.QUICK for name, _ in commit_log) else 1
        while True:
            attempts -= 1
            try:
                with translated():
                    return self._vote(commit_log)
            except DatabaseFailed:
                if not attempts:
                    raise
                self._served.engine.lending.forget()

    def _vote(self, commit_log: CommitLog) -> Operations:
        served = self._served
        storage = self._storage = served.engine.lending.lease()
        operations = Operations(
            storage,
            self._metadata,
            served.leaves_conflicts,
            served.leaves_all,
            served.engine.unpickles,
        )
        try:
            # Within the try block: `tpc_begin` may acquire the storage's lock and then raise.
            self._begin()
            if served.may_be_disordered:
                restore(storage)
                served.may_be_disordered = False
            for name, args in commit_log:
                getattr(operations, name)(*args)
            if not operations.conflicts:
                operations.tpc_vote()
                self.mark = served.engine.voted(storage)
                if served.engine.remote is not None:
                    self.tid = served.engine.remote.voted_tid
        except BaseException as error:
            if not isinstance(error, _USUAL):
                served.may_be_disordered = True
            try:
                if is_full(error):
                    make_room(storage)
            finally:
                self.abort(is_sound=isinstance(error, POSError))
            if not operations.may_be_conflict(error, served.engine.is_shared):
                raise
            # The storage tells one of the conflicts, and without the record.
            operations.find_conflicts(served.storage, commit_log)
            if not operations.conflicts:
                raise
        else:
            if operations.conflicts:
                self.abort()
        self._changed = operations.changed
        return operations

    def _begin(self) -> None:
        storage, tids = self._storage, self._served.tids
        if self._given_tid is not None or tids is None:
            self._begin_in_storage(self._given_tid)
            return
        while True:
            tid = self.tid = tids.next(storage.lastTransaction() or z64)
            self._begin_in_storage(tid)
            # Other code that uses the storage may have committed while `tpc_begin` waited for the
            # storage's own lock. Then this tid would be earlier than the last one, so make another.
            if (storage.lastTransaction() or z64) < tid:
                return
            storage.tpc_abort(self._metadata)

    def _begin_in_storage(self, tid: bytes | None) -> None:
        storage = self._storage
        # Some storages have no parameter for the status or the tid.
        if self._status != " ":
            storage.tpc_begin(self._metadata, tid, self._status)
        elif tid is not None:
            storage.tpc_begin(self._metadata, tid)
        else:
            storage.tpc_begin(self._metadata)

    def finish(self) -> Deferred[tuple[bytes, dict[str, Any]]]:
        """Commit; return a Deferred of the tid, and of the new sizes of the storage.

        The transaction is then in the queue of publications; call `publish` next. In a shared
        storage, it has just been published. If this fails, and the transaction is in the storage,
        all clients are notified of it.
        """
        if self._served.engine.is_shared:
            return self._finish_shared()
        return self._served.commit_in_thread(self._finish)

    def _finish(self) -> tuple[bytes, dict[str, Any]]:
        served = self._served
        storage = self._storage
        publications = self._publications

        def finished(tid: bytes) -> None:
            # The storage calls this under its own lock, so the queue has the storage's order.
            publications.append(served.publications.reserve(tid, self._changed, self._owner))

        try:
            storage.tpc_finish(self._metadata, finished)
        except BaseException:
            self._finish_failed()
            raise
        if not publications:
            # Some storages do not call the function, although ZODB's interface requires it.
            finished(storage.lastTransaction())
        try:
            sizes = served.sizes()
        except Exception:
            self._log.failure("({label}) the size of the storage is unknown", **self.log_fields)
            sizes = {}
        return publications[-1].tid, sizes

    def replicated(self, tid: bytes) -> Deferred[None] | None:
        """Return a Deferred that fires when a standby has the transaction; see `Followers`."""
        return self._served.followers.replicated(tid, self._changed)

    def publish(self) -> None:
        """Publish the transaction, and those before it, in the reactor's thread; send nothing.

        Its client must be answered before anything else is published: see `Publications.settle`.
        One in a shared storage has been published before.
        """
        queue = self._served.publications
        if self._publications:
            for publication in self._publications:
                queue.settle(publication, True)
            queue.publish(self._publications[-1])

    def _finish_failed(self) -> None:
        """Set the outcome of a transaction whose `tpc_finish` has raised.

        The transaction may be in the storage all the same. Then all clients are notified, and the
        client that committed it, too: its answer is an exception.

        If the storage cannot be used any more, nothing is known: the clients are disconnected, and
        ask for the outcome when the storage is served again.
        """
        served = self._served
        storage = self._storage
        publications = self._publications
        unusable = why_unusable(storage)
        if unusable:
            for publication in publications:
                served.publications.settle(publication, False)
            # Not later: nothing may be answered before.
            served.call_from_thread(served.give_up, unusable)
            return
        try:
            last = storage.lastTransaction()
        except Exception:
            self._log.failure(
                "({label}) it is not known whether transaction {tid} is committed",
                tid=None if self.tid is None else self.tid.hex(),
                **self.log_fields,
            )
            last = b""
            served.call_from_thread(served.lost_track)
        for publication in publications:
            publication.origin = None
            served.publications.settle(publication, last >= publication.tid)
        served.may_be_disordered = True
        try:
            # The storage may still hold its own lock for this transaction.
            storage.tpc_abort(self._metadata)
        except Exception:
            self._log.failure("({label}) tpc_abort failed", **self.log_fields)

    def _finish_shared(self) -> Deferred[tuple[bytes, dict[str, Any]]]:
        served = self._served
        own = self._own = OwnCommit(self._owner, self._changed, self.mark)
        served.own_commits.add(own)
        storage, self._storage = self._storage, None
        finishing = served.commit_in_thread(self._finish_in_engine, storage, own)
        finishing.addErrback(self._finish_shared_failed, own)
        answer: Deferred[Any] = own.published.addBoth(self._published, own)
        return answer

    def _finish_in_engine(self, storage: Any, own: OwnCommit) -> None:
        is_sound = False
        try:
            with translated():
                self._served.engine.finish(storage, self._metadata, own)
            is_sound = True
        finally:
            self._served.engine.lending.give_back(storage, is_sound)

    def _finish_shared_failed(self, failure: Failure, own: OwnCommit) -> None:
        if own.published.called:
            # Its news came before.
            return
        # The database may have committed it all the same. The client has to ask later: clients ask
        # if they lose the connection.
        self._log.warn(
            "({label}) it is not known yet whether its transaction is committed: {error}",
            error=failure.value,
            **self.log_fields,
        )
        self._owner.drop("the database failed while it finished the client's transaction")
        own.failed(failure)

    def _published(self, tid: bytes, own: OwnCommit) -> Any:
        self._served.own_commits.discard(own)
        return tid if isinstance(tid, Failure) else (tid, self._served.sizes())

    def answered(self) -> None:
        """The client has been answered, or is gone."""
        if self._own is not None:
            self._served.publications.answered(self._own)

    def abort(self, is_sound: bool = True) -> None:
        """Abort the transaction in the storage.

        :param is_sound: whether the storage has only answered that it cannot do something.
        """
        storage, self._storage = self._storage, None
        try:
            with translated():
                storage.tpc_abort(self._metadata)
        except DatabaseFailed:
            # Then the database has aborted it.
            is_sound = False
        except BaseException:
            self._served.may_be_disordered = True
            is_sound = False
            raise
        finally:
            self._served.engine.lending.give_back(storage, is_sound)
