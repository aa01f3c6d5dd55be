"""The transactions of a storage, one at a time, from ``tpc_begin`` to their ends."""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import get_ident
from typing import IO, Any

from ZODB.POSException import (
    ConflictError,
    ReadOnlyError,
    StorageTransactionError,
    Unsupported,
)

from zeotwisted.exceptions import ClientDisconnected, ClientStorageError

from ..blobs import Blobs
from ..connection import Link
from ..records import Coherence, StorageInfo
from .deadlock import Votes
from .oids import NewOids
from .transaction import ClientTransaction, CommitGate, Resolve

__all__ = ["Committing"]

_log = logging.getLogger("zeotwisted.client")

#: For all storages of this process: two of them may be clients of the same storage at a server.
_votes = Votes()


class Committing:
    """Begins, votes, finishes and aborts the transactions of one client storage.

    Its methods raise the same exceptions as the methods of `ClientStorage` with similar names.

    :param cache_size: how many bytes of new data to keep for the cache at most.
    :param patience: how long (seconds) a vote may wait for the commit lock; None: for ever.
    :param name: the name of the client in log lines.
    :ivar oids: oids for new objects.
    """

    def __init__(
        self,
        link: Link,
        coherence: Coherence,
        info: StorageInfo,
        blobs: Blobs,
        cache_size: int,
        patience: float | None,
        name: str,
    ) -> None:
        self.oids = NewOids()
        self._link = link
        self._coherence = coherence
        self._info = info
        self._blobs = blobs
        self._cache_size = cache_size
        self._patience = patience
        self._name = name
        self._gate = CommitGate()

    @property
    def current(self) -> Any:
        """The application's transaction object of the current transaction, or None."""
        current = self._gate.current
        return None if current is None else current.txn

    @property
    def voted_tid(self) -> bytes | None:
        """The tid of the current transaction, from its vote on, if the server tells it then."""
        current = self._gate.current
        return None if current is None else current.tid

    def new_oid(self) -> bytes:
        """Return an oid that was never used."""
        self._check_writable()
        return self.oids.take(lambda: self._link.call("new_oids"))

    def _check_writable(self) -> None:
        if self._link.is_read_only:
            raise ReadOnlyError()

    def begin(self, txn: Any, tid: bytes | None, status: str) -> None:
        """Begin a transaction; wait until the current one has ended."""
        self._check_writable()
        current = self._gate.current
        if current is not None and current.txn is txn:
            raise StorageTransactionError("Duplicate tpc_begin calls for same transaction")
        if current is not None and self._link.is_current():
            raise ClientStorageError(
                "tpc_begin has to wait for another transaction, which cannot end while the "
                "reactor's own thread waits"
            )
        transaction = ClientTransaction(txn, self._cache_size, self._patience)
        try:
            self._gate.enter(transaction, self._link.timeout)
            protocol = self._link.protocol()
            if protocol.read_only:
                raise ReadOnlyError()
            transaction.begin(protocol, tid, status, self._coherence.last_transaction())
        except BaseException:
            self._gate.leave(transaction)
            raise

    def transaction(self, txn: Any) -> ClientTransaction:
        """Return the current transaction, which must be that of `txn`.

        :raises ZODB.POSException.StorageTransactionError: it is not.
        """
        current = self._gate.current
        if current is None or current.txn is not txn:
            self._check_writable()
            raise StorageTransactionError("not the transaction that is under way", txn)
        current.thread = get_ident()
        return current

    def restore_blob(
        self,
        txn: Any,
        oid: bytes,
        serial: bytes,
        data: bytes,
        prev_txn: bytes | None,
        file: IO[bytes],
    ) -> None:
        """Store a revision of a blob that was committed in another database.

        :param file: the blob's content.
        """
        transaction = self.transaction(txn)
        if not self._info.keeps_blobs:
            raise Unsupported(
                "the served storage cannot restore blobs; give it a folder for them (blob-dir)"
            )
        transaction.restore_blob(oid, serial, data, prev_txn, file)

    def vote(self, txn: Any, resolve: Resolve) -> list[bytes] | None:
        """Vote; return the oids of objects whose conflicts were resolved.

        :param resolve: called for conflicts that the server leaves to the client.
        """
        transaction = self.transaction(txn)
        where = self._info.identity
        _votes.refuse_second(where, transaction)
        try:
            resolved = transaction.vote(resolve)
        except ConflictError as error:
            if error.oid is not None:
                # If the cached revision is out of date, the application must not read it again
                # when it retries.
                self._coherence.forget(error.oid)
            raise
        _votes.add(where, transaction)
        return resolved

    def finish(self, txn: Any, callback: Callable[[bytes], Any]) -> bytes:
        """Commit; return the tid.

        :param callback: called with the tid before any later transaction is visible.
        """
        transaction = self.transaction(txn)
        try:
            tid = transaction.finish(
                self._coherence, callback, self._link.writable_protocol, self._link.timeout
            )
        except Exception:
            self._leave(transaction)
            raise
        if transaction.restores:
            # The copied objects may have some of the oids that the server gave to this client.
            self.oids.clear()
        # Ctrl-C skips this, because the server still commits: tpc_abort follows, waits until the
        # server is done, and leaves.
        self._blobs.keep(transaction.blobs, tid)
        self._leave(transaction)
        return tid

    def abort(self, txn: Any) -> None:
        """Abort the transaction. Do nothing if it is not the current one."""
        transaction = self._gate.current
        if transaction is None or transaction.txn is not txn:
            return
        try:
            transaction.abort()
        except ClientDisconnected:
            # The server aborts the transactions of a connection that is lost.
            _log.debug("%s: aborted by the loss of the connection", self._name)
        finally:
            self._leave(transaction)

    def _leave(self, transaction: ClientTransaction) -> None:
        _votes.remove(self._info.identity, transaction)
        self._gate.leave(transaction)
        self._blobs.discard(transaction.blobs)

    def close(self) -> None:
        """Make all threads that wait for their turn raise `ClientDisconnected`."""
        self._gate.close()
