"""One transaction in the storage: its begin, its vote, and its end.

The client's transaction has the commit lock meanwhile, and does one step at a time. The steps run
in the storage's commit thread; short votes run in the reactor's thread. `transaction` decides when
to do each step.
"""

from __future__ import annotations

from typing import Any

from transaction.interfaces import TransactionError
from twisted.logger import Logger
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import UndoError
from ZODB.utils import z64

from ..storage import Listener, Publication, ServedStorage, restore, why_unusable
from .commitlog import CommitLog
from .operations import Operations

__all__ = ["StorageTransaction"]

#: The exceptions of a vote that the data causes, and not the disk.
_USUAL = (TransactionError, UndoError)


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
        self._given_tid = tid
        self._status = status
        self._changed: list[bytes] = []
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
        storage = self._served.storage
        operations = Operations(
            storage,
            self._metadata,
            self._served.leaves_conflicts,
            self._served.options.client_conflict_resolution,
        )
        try:
            # Within the try block: `tpc_begin` may acquire the storage's lock and then raise.
            self._begin()
            if self._served.may_be_disordered:
                restore(storage)
                self._served.may_be_disordered = False
            for name, args in commit_log:
                getattr(operations, name)(*args)
            if not operations.conflicts:
                operations.tpc_vote()
        except BaseException as error:
            if not isinstance(error, _USUAL):
                self._served.may_be_disordered = True
            storage.tpc_abort(self._metadata)
            raise
        if operations.conflicts:
            storage.tpc_abort(self._metadata)
        self._changed = operations.changed
        return operations

    def _begin(self) -> None:
        storage, tids = self._served.storage, self._served.tids
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
        storage = self._served.storage
        # Some storages have no parameter for the status or the tid.
        if self._status != " ":
            storage.tpc_begin(self._metadata, tid, self._status)
        elif tid is not None:
            storage.tpc_begin(self._metadata, tid)
        else:
            storage.tpc_begin(self._metadata)

    def finish(self) -> tuple[bytes, dict[str, Any]]:
        """Commit; return the tid, and the new sizes of the storage.

        The transaction is then in the queue of publications; call `publish` next. If this raises,
        and the transaction is in the storage, all clients are notified of it.
        """
        served = self._served
        storage = served.storage
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

    def publish(self) -> None:
        """Publish the transaction, and those before it, in the reactor's thread; send nothing.

        Its client must be answered before anything else is published: see `Publications.settle`.
        """
        queue = self._served.publications
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
        storage = served.storage
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

    def abort(self) -> None:
        """Abort the transaction in the storage, after its vote."""
        try:
            self._served.storage.tpc_abort(self._metadata)
        except BaseException:
            self._served.may_be_disordered = True
            raise
