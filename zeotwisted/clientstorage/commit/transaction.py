"""A client's transaction, and the gate that admits one transaction at a time."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from typing import IO, Any

from ZODB.POSException import ConflictError, StorageTransactionError, Unsupported
from ZODB.utils import z64

from zeotwisted.exceptions import ClientDisconnected, TransactionTimeout, UnrecognizedResult
from zeotwisted.protocol import LONG

from ..blobs import upload
from ..calls import ClientProtocol, Waiter
from ..records import Coherence
from .deadlock import refuse_second
from .metadata import encoded, extension_dict, stored_extension
from .outcome import Traces, committed_tid, marked, marked_stored

__all__ = ["ClientTransaction", "CommitGate", "Resolve"]

#: Resolves a conflict: oid, committed serial, serial that was read, new data -> resolved data.
Resolve = Callable[[bytes, bytes, bytes, bytes], bytes]

#: How often a vote may return new conflicts before the transaction fails.
_VOTES = 10

#: How many bytes of new data are kept for the cache.
_KEPT = 16 * 1024 * 1024

_ids = itertools.count(1)


class CommitGate:
    """Admits one transaction at a time, in the order of the calls of `enter`.

    `leave` makes the first transaction that waits the current one. If it only opened the gate, a
    thread that commits in a loop would enter again before another thread has woken up.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._closed = False
        self._waiting: deque[ClientTransaction] = deque()
        #: The transaction that was admitted, or None.
        self.current: ClientTransaction | None = None

    def enter(self, transaction: ClientTransaction, patience: float | None = None) -> None:
        """Wait until it is the turn of `transaction`, and admit it.

        :param patience: how long (seconds) to wait if the current transaction belongs to this
            thread. Another thread may go on with it meanwhile.
        :raises ClientDisconnected: the storage was closed.
        :raises StorageTransactionError: this call would deadlock: it waits for the same
            transaction, or for another one of this thread.
        """
        with self._changed:
            if self.current is None and not self._closed:
                self.current = transaction
                return
            refuse_second(self.current, transaction)
            self._waiting.append(transaction)
            try:
                self._wait(transaction, patience)
                if self._closed:
                    raise ClientDisconnected("the storage is closed")
            except BaseException:
                self._remove(transaction)
                raise

    def _wait(self, transaction: ClientTransaction, patience: float | None) -> None:
        while not (self._closed or self.current is transaction):
            inside = self.current
            if inside is None or inside.thread != transaction.thread:
                self._changed.wait()
            elif not self._changed.wait(patience) and inside is self.current:
                if inside.thread != transaction.thread:
                    # Another thread has gone on with it.
                    continue
                raise StorageTransactionError(
                    f"this thread has begun another transaction, and has not gone on with it for "
                    f"{patience:g} seconds; end it with tpc_finish or tpc_abort before the next one"
                )

    def leave(self, transaction: ClientTransaction) -> None:
        """Note that `transaction` has ended; admit the next one."""
        with self._changed:
            self._remove(transaction)

    def _remove(self, transaction: ClientTransaction) -> None:
        if transaction in self._waiting:
            self._waiting.remove(transaction)
        elif self.current is transaction:
            self.current = self._waiting.popleft() if self._waiting else None
            # All: a condition cannot wake a given thread. Few threads wait here.
            self._changed.notify_all()

    def close(self) -> None:
        """Make all threads that wait raise `ClientDisconnected`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class ClientTransaction:
    """A transaction between ``tpc_begin`` and its end.

    It belongs to the connection on which it began. When that is lost, every later step raises
    `ClientDisconnected`, even if there is a new connection.

    :param txn: the caller's transaction object, which identifies the transaction.
    :param cache_size: how many bytes of new data to keep for the cache at most.
    :param patience: how long (seconds) a vote may wait for the commit lock; None: for ever.
    """

    def __init__(self, txn: Any, cache_size: int = _KEPT, patience: float | None = None) -> None:
        self.txn = txn
        self._patience = patience
        #: The thread that made the last step.
        self.thread = threading.get_ident()
        self._connection: ClientProtocol | None = None
        self._id = next(_ids)
        # The new data of each object, for the cache; None if it is not known or too long.
        self._changes: dict[bytes, bytes | None] = {}
        self._room = min(cache_size, _KEPT)
        # Objects whose conflicts were resolved: their data is not what the application stored.
        self._resolved: dict[bytes, None] = {}
        # `outcome` finds the transaction by these.
        #: The tid, from the vote on, if the server tells it then.
        self.tid: bytes | None = None
        self._mark: str | None = None
        # The mark that the server has made for it at the vote.
        self._server_mark: bytes | None = None
        self._after = z64
        #: Whether it copies objects, with their oids, from another database.
        self.restores = False
        #: Oids and files of the blobs. The client owns the files until the transaction ends.
        self.blobs: list[tuple[bytes, str]] = []

    @property
    def _protocol(self) -> ClientProtocol:
        if self._connection is None:
            raise ClientDisconnected("the transaction has no connection to the server")
        return self._connection

    def begin(
        self,
        connection: ClientProtocol,
        tid: bytes | None,
        status: str,
        after: bytes,
    ) -> None:
        """Begin the transaction at the server, on this connection.

        :param after: the tid of an earlier transaction.
        """
        self._connection = connection
        self.tid = tid
        self._after = after
        txn = self.txn
        needs_mark = tid is None and not (connection.tells_tids or connection.tells_marks)
        extension: dict[Any, Any] | bytes
        if connection.is_extended:
            extension = stored_extension(txn)
            if needs_mark:
                extension, self._mark = marked_stored(extension)
        else:
            extension = extension_dict(txn, connection.version[:1])
            if needs_mark:
                extension, self._mark = marked(extension)
        user, description = encoded(txn.user), encoded(txn.description)
        self._send("tpc_begin", user, description, extension, tid, status, at=0)

    def store(self, oid: bytes, serial: bytes | None, data: bytes) -> None:
        """Store a new revision."""
        if len(data) < LONG:
            self._send("storea", oid, serial, data)
        else:
            self._protocol.oneway_long("storea", oid, serial, data, self._id)
        self._changed(oid, data)

    def store_blob(self, oid: bytes, serial: bytes | None, data: bytes, file: IO[bytes]) -> None:
        """Store a new revision of a blob, whose content is in `file`."""
        self._upload(file)
        self._send("storeBlobEnd", oid, serial, data)
        self._changed(oid, data)

    def store_shared_blob(self, oid: bytes, serial: bytes | None, data: bytes, name: str) -> None:
        """Store a new revision of a blob, which is a file in the object's folder at the server."""
        self._send("storeBlobShared", oid, serial, data, name)
        self._changed(oid, data)

    def delete(self, oid: bytes, serial: bytes) -> None:
        """Delete an object."""
        self._send("deleteObject", oid, serial)
        self._changed(oid, None)

    def restore(
        self, oid: bytes, serial: bytes, data: bytes | None, prev_txn: bytes | None
    ) -> None:
        """Store a revision that comes from another database."""
        self._send("restorea", oid, serial, data, prev_txn)
        self.restores = True
        # Not the data: the copied revision need not be the current one.
        self._changed(oid, None)

    def restore_blob(
        self,
        oid: bytes,
        serial: bytes,
        data: bytes,
        prev_txn: bytes | None,
        file: IO[bytes],
    ) -> None:
        """Store a revision of a blob that comes from another database; its content is in `file`.

        :raises ZODB.POSException.Unsupported: the server cannot restore blobs.
        """
        if not self._protocol.is_extended:
            raise Unsupported(
                "a server that speaks version 5 of the protocol cannot restore blobs; copy into "
                "one of zeotwisted without protocol-limit 5, or into the file itself while no "
                "server has it open"
            )
        self._upload(file)
        self._send("restoreBlobEnd", oid, serial, data, prev_txn)
        self.restores = True
        self._changed(oid, None)

    def _upload(self, file: IO[bytes]) -> None:
        try:
            upload(self._protocol, file)
        except BaseException:
            # The server may not know yet that the connection ends. Its vote would succeed without
            # the blob, so no further step may be sent.
            self._connection = None
            raise

    def _changed(self, oid: bytes, data: bytes | None) -> None:
        self._room += len(self._changes.get(oid) or b"")
        if data is not None and len(data) > self._room:
            data = None
        self._room -= len(data or b"")
        self._changes[oid] = data

    def check_serial(self, oid: bytes, serial: bytes) -> None:
        """Make the vote fail if `serial` is not the current revision of the object."""
        self._send("checkCurrentSerialInTransaction", oid, serial)

    def undo(self, transaction_id: bytes) -> None:
        """Undo an earlier transaction."""
        self._send("undoa", transaction_id)

    def _send(self, name: str, *args: Any, at: int | None = None) -> None:
        """Queue a call; the transaction's id is the last argument, or that at index `at`."""
        at = len(args) if at is None else at
        args = (*args[:at], self._id, *args[at:])
        # The frames leave with the vote at the latest.
        self._protocol.oneway(name, *args, hold_back=True)

    def vote(self, resolve: Resolve) -> list[bytes] | None:
        """Vote; return the oids of objects whose conflicts were resolved, or None.

        :param resolve: called for conflicts that the server leaves to the client.
        """
        for _ in range(_VOTES):
            conflicts = self._vote()
            if not conflicts:
                break
            for conflict in conflicts:
                oid = conflict["oid"]
                committed, read = conflict["serials"]
                data = resolve(oid, committed, read, conflict["data"])
                self._send("storea", oid, committed, data)
                self._changed(oid, data)
                self._resolved[oid] = None
        else:
            raise ConflictError(
                f"new conflicts have arisen {_VOTES} times while older ones were being resolved"
            )
        return list(self._resolved) or None

    def _vote(self) -> list[dict[str, Any]]:
        if self._patience is not None and self._protocol.limits_votes:
            result = self._call("vote_within", self._id, self._patience)
        else:
            result = self._call("vote", self._id)
        if self._protocol.tells_tids:
            try:
                result, tid = result
            except (TypeError, ValueError):
                raise UnrecognizedResult("vote", result)
            self.tid = self.tid if tid is None else _checked_tid("vote", tid)
        elif self._protocol.tells_marks:
            try:
                result, mark = result
            except (TypeError, ValueError):
                raise UnrecognizedResult("vote", result)
            self._server_mark = None if mark is None else _checked_tid("vote", mark)
        conflicts = []
        for item in result or ():
            if isinstance(item, dict):
                conflicts.append(item)
            elif isinstance(item, bytes):
                self._changed(item, None)
                self._resolved[item] = None
            else:
                raise UnrecognizedResult("vote", item)
        return conflicts

    def finish(
        self,
        coherence: Coherence,
        callback: Callable[[bytes], Any],
        connect: Callable[[float], ClientProtocol],
        timeout: float,
    ) -> bytes:
        """Commit; return the tid.

        `callback` is called with the tid before the next message is processed, in this thread or in
        the reactor's thread. It must not call the server.

        :param connect: see `outcome.committed_tid`.
        :param timeout: how long (seconds) to search for a server that knows the outcome, if the
            answer is lost.
        :raises ClientDisconnected: the connection is lost, and the transaction is not committed.
        :raises TransactionTimeout: the server has aborted the transaction.
        :raises CommitInDoubt: the connection is lost, or the server failed, and no server can say
            whether the transaction is committed.
        :raises Exception: the server failed, and the transaction is not committed.
        """
        protocol = self._protocol
        protocol.check_may_wait("tpc_finish")

        def committed(tid: bytes) -> bytes:
            coherence.committed(_checked_tid("tpc_finish", tid), self._changes.items(), callback)
            return tid

        # If `committed` fails, the cache may have a part of the transaction. So the connection is
        # closed, and the next one verifies the cache.
        waiter = Waiter(committed, anywhere=False)
        protocol.call(waiter, "tpc_finish", self._id)
        try:
            return protocol.wait(waiter)
        except TransactionTimeout:
            # The server has aborted the transaction before it got this call.
            raise
        except Exception as error:
            # A server that fails may not know the outcome either. ZEO's server keeps the
            # transaction, and the commit lock, until the connection is closed.
            protocol.give_up(ClientDisconnected(f"tpc_finish failed: {error}"))
            if waiter.answered:
                raise
            tid = committed_tid(self._traces(), connect, timeout)
            if tid is None and isinstance(error, ClientDisconnected):
                raise ClientDisconnected(f"the transaction is not committed: {error}") from error
            if tid is None:
                raise
        coherence.found(tid, self._changes, callback)
        return tid

    def _traces(self) -> Traces:
        return Traces(
            self.tid,
            self._mark,
            self._server_mark,
            self._after,
            next(iter(self._changes), None),
            self.txn.user,
            self.txn.description,
        )

    def abort(self) -> None:
        """Abort; return when the server has aborted, too."""
        self._call("tpc_abort", self._id)

    def _call(self, name: str, *args: Any) -> Any:
        return self._protocol.ask(Waiter(), name, *args)


def _checked_tid(name: str, tid: Any) -> bytes:
    if type(tid) is not bytes or len(tid) != 8:
        raise UnrecognizedResult(name, tid)
    return tid
