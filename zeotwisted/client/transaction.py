"""A client's transaction, and the gate that lets one in at a time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

from twisted.internet.defer import Deferred
from ZODB.POSException import ConflictError

from zeotwisted.exceptions import ClientDisconnected, UnrecognizedResult
from zeotwisted.spool import Spool

from .coherence import Coherence
from .protocol import ClientProtocol
from .uploads import upload

__all__ = ["ClientTransaction", "CommitGate", "Resolve"]

#: Resolves a conflict: oid, committed serial, serial that was read, new data -> resolved data.
Resolve = Callable[[bytes, bytes, bytes, bytes], bytes]

#: How often a vote may come back with new conflicts before we give up.
_VOTES = 10

_ids = itertools.count(1)


class CommitGate:
    """Lets one transaction at a time into the storage."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._closed = False
        #: The transaction that is inside.
        self.current: ClientTransaction | None = None

    def enter(self, transaction: ClientTransaction) -> None:
        """Wait until nobody is inside, then let `transaction` in.

        :raises ClientDisconnected: the storage was closed.
        """
        with self._changed:
            while self.current is not None and not self._closed:
                self._changed.wait()
            if self._closed:
                raise ClientDisconnected("the storage is closed")
            self.current = transaction

    def leave(self, transaction: ClientTransaction) -> None:
        """`transaction` has ended, one way or the other."""
        with self._changed:
            if self.current is transaction:
                self.current = None
                self._changed.notify()
        transaction.close()

    def close(self) -> None:
        """Send away everyone who waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class ClientTransaction:
    """A transaction between ``tpc_begin`` and its end.

    It lives and dies with the connection on which it began: when that is lost, every later step
    raises `ClientDisconnected`, even if there is a new connection by then.

    :param txn: the transaction object of the caller, by which it is recognised.
    """

    def __init__(self, txn: Any) -> None:
        self.txn = txn
        self._connection: ClientProtocol | None = None
        self._id = next(_ids)
        # Oids and data, for the cache; None where it is not known.
        self._changes = Spool()
        # An object may be stored more than once: where in `_changes` its last data is.
        self._last: dict[bytes, int] = {}
        # Objects whose data the server has changed.
        self._resolved_by_server: set[bytes] = set()
        self._resolved_here: dict[bytes, bytes] = {}
        #: Oids and files of the blobs; the files belong to the client until the end.
        self.blobs: list[tuple[bytes, str]] = []

    def close(self) -> None:
        """Give up what is kept for the end of the transaction."""
        self._changes.close()

    @property
    def _protocol(self) -> ClientProtocol:
        if self._connection is None:
            raise ClientDisconnected("the transaction has not reached the server")
        return self._connection

    def begin(self, connection: ClientProtocol, tid: bytes | None, status: str) -> None:
        """Tell the server that it begins, and stay with this connection."""
        self._connection = connection
        txn = self.txn
        # What a storage's iterator returns as the extension may be a dict of another class.
        extension = dict(txn.extension)
        self._send("tpc_begin", txn.user, txn.description, extension, tid, status, at=0)

    def store(self, oid: bytes, serial: bytes | None, data: bytes) -> None:
        """Store a new revision."""
        self._send("storea", oid, serial, data)
        self._changed(oid, data)

    def store_blob(self, oid: bytes, serial: bytes | None, data: bytes, file: IO[bytes]) -> None:
        """Store a new revision of a blob, whose content is in `file`."""
        upload(self._protocol, file)
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
        # It is current only if its tid is the last one, which a copy need not be.
        self._changed(oid, None)

    def _changed(self, oid: bytes, data: bytes | None) -> None:
        self._last[oid] = len(self._changes)
        self._changes.append((oid, data), 64 + len(data or b""))

    def check_serial(self, oid: bytes, serial: bytes) -> None:
        """Have the vote fail if `serial` is not the object's current revision."""
        self._send("checkCurrentSerialInTransaction", oid, serial)

    def undo(self, transaction_id: bytes) -> None:
        """Undo an earlier transaction."""
        self._send("undoa", transaction_id)

    def _send(self, name: str, *args: Any, at: int | None = None) -> None:
        """Call the server; the transaction's name is the last argument, or that at index `at`."""
        at = len(args) if at is None else at
        args = (*args[:at], self._id, *args[at:])
        # The vote follows, and takes everything with it.
        self._protocol.oneway(name, *args, hold_back=True)

    def vote(self, resolve: Resolve) -> list[bytes] | None:
        """Vote; return the oids whose data is not what was stored, or None.

        :param resolve: called for conflicts that the server leaves to us.
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
                self._resolved_here[oid] = data
        else:
            raise ConflictError(
                f"new conflicts have arisen {_VOTES} times while older ones were being resolved"
            )
        return [*self._resolved_by_server, *self._resolved_here] or None

    def _vote(self) -> list[dict[str, Any]]:
        conflicts = []
        for item in self._call("vote", self._id) or ():
            if isinstance(item, dict):
                conflicts.append(item)
            elif isinstance(item, bytes):
                self._resolved_by_server.add(item)
            else:
                raise UnrecognizedResult("vote", item)
        return conflicts

    def finish(self, coherence: Coherence, callback: Callable[[bytes], Any]) -> bytes:
        """Commit; return the tid.

        `callback` is called with the tid in the reactor's thread, before anything else that the
        server says is looked at.
        """
        answer: Deferred[bytes] = Deferred()
        # Who waits may be interrupted and close this transaction. The answer comes all the same,
        # and needs the changes.
        changes, self._changes = self._changes, Spool()

        def committed(tid: bytes) -> bytes:
            try:
                coherence.committed(tid, self._known_changes(changes), callback)
            except BaseException as error:
                # The cache may be half-way between two transactions.
                self._protocol.close(ClientDisconnected(f"taking note of a commit failed: {error}"))
                raise
            return tid

        def answered(result: Any) -> Any:
            changes.close()
            return result

        answer.addCallback(committed)
        answer.addBoth(answered)
        try:
            return self._protocol.call_and_wait(answer, "tpc_finish", self._id)
        except Exception:
            # There may not have been any answer.
            changes.close()
            raise

    def _known_changes(self, changes: Spool) -> Iterator[tuple[bytes, bytes | None]]:
        for index, (oid, data) in enumerate(changes):
            resolved = oid in self._resolved_by_server or oid in self._resolved_here
            if index == self._last[oid] and not resolved:
                yield oid, data
        yield from self._resolved_here.items()
        for oid in self._resolved_by_server:
            yield oid, None

    def abort(self) -> None:
        """Give up; return when the server has done so, too."""
        self._call("tpc_abort", self._id)

    def _call(self, name: str, *args: Any) -> Any:
        return self._protocol.call_and_wait(Deferred(), name, *args)
