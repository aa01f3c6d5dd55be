"""One transaction in the storage: its begin, its vote, and its end.

All of this is done while the client's transaction has the commit lock, one step at a time. It runs
in the storage's commit thread; short votes run in the reactor's thread. What is done when, and
what it means for the client, is decided in `transaction`.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

from ..storage import Listener, Publication, ServedStorage
from .commitlog import CommitLog
from .operations import Operations

__all__ = ["StorageTransaction"]


class StorageTransaction:
    """The steps of two-phase commit in a storage, for one client's transaction.

    :param owner: the client's connection. It is not told of its own commit.
    :param tid: the transaction id to give to it, when a database is copied; None for a new one.
    :param status: likewise.
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
        #: Its id, from the vote on; None if the storage takes no ids from this server.
        self.tid = tid if served.tids is not None else None
        self._given_tid = tid
        self._status = status
        self._changed: list[bytes] = []

    def vote(self, commit_log: CommitLog) -> Operations:
        """Begin the transaction, do what the log has, and vote; return what that brought about.

        After an exception, or with conflicts for the client to resolve, the storage is free again.
        """
        storage = self._served.storage
        operations = Operations(
            storage, self._metadata, self._served.options.client_conflict_resolution
        )
        try:
            # A storage may take its own lock, and refuse what it is given then.
            self._begin()
            for name, args in commit_log:
                getattr(operations, name)(*args)
            if not operations.conflicts:
                operations.tpc_vote()
        except BaseException:
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
            # Who uses the storage past this server may have committed while this waited for the
            # storage's own lock, and tids must not go backwards.
            if (storage.lastTransaction() or z64) < tid:
                return
            storage.tpc_abort(self._metadata)

    def _begin_in_storage(self, tid: bytes | None) -> None:
        storage = self._served.storage
        # Not every storage takes a status, nor a tid.
        if self._status != " ":
            storage.tpc_begin(self._metadata, tid, self._status)
        elif tid is not None:
            storage.tpc_begin(self._metadata, tid)
        else:
            storage.tpc_begin(self._metadata)

    def finish(self) -> tuple[bytes, dict[str, Any]]:
        """Commit; return the tid, and the new sizes of the storage.

        The news has its place among all publications then, and waits there to be published. After
        an exception the other clients are told of the transaction if it is in the storage.
        """
        served = self._served
        storage = served.storage
        publications: list[Publication] = []

        def finished(tid: bytes) -> None:
            # Called under the storage's own lock: this is where the order is made.
            publications.append(served.publications.reserve(tid, self._changed, self._owner))

        try:
            storage.tpc_finish(self._metadata, finished)
        except BaseException:
            self._finish_failed(publications)
            raise
        if not publications:
            # Not every storage keeps to the rule that it has to tell its new transaction id.
            finished(storage.lastTransaction())
        for publication in publications:
            served.publications.settle(publication, True)
        try:
            sizes = served.sizes()
        except Exception:
            self._log.failure(
                "({label}) the size of the storage is unknown", label=self._owner.label
            )
            sizes = {}
        return publications[-1].tid, sizes

    def _finish_failed(self, publications: list[Publication]) -> None:
        """Nobody knows how far the storage got. If the transaction is there, all have to hear of
        it, and so has the client that tried, which will get an exception for an answer."""
        served = self._served
        storage = served.storage
        try:
            last = storage.lastTransaction()
        except Exception:
            self._log.failure(
                "({label}) it is not known whether the transaction is committed",
                label=self._owner.label,
            )
            last = b""
            served.call_from_thread(served.lost_track)
        for publication in publications:
            publication.origin = None
            served.publications.settle(publication, last >= publication.tid)
        try:
            # It may still hold a lock of its own.
            storage.tpc_abort(self._metadata)
        except Exception:
            self._log.failure("({label}) tpc_abort failed", label=self._owner.label)

    def abort(self) -> None:
        """End the transaction in the storage, which has voted, without a commit."""
        self._served.storage.tpc_abort(self._metadata)
