"""One client's session with one storage.

The methods whose names begin with ``remote_`` are what a client may call; their names and arguments
are those in `zeotwisted.protocol.methods.SERVER_CALLS`, which has checked them.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from ZODB.POSException import ReadOnlyError, StorageTransactionError

from zeotwisted.protocol import Broadcast, Call, split

from ..commit import CommitLog, Phase, ServerTransaction
from ..floods import Kind
from ..storage import ServedStorage, load_many_before, metadata
from ..turns import Turns
from . import blobs
from .iterators import Iterators

__all__ = ["Answer", "Peer", "ServerConnection"]


#: How far (seconds) the clock of a client may be ahead, which packs up to its present. A later pack
#: time is a mistake. ZEO's clients may name one, for which ZODB's tests have a case.
_SKEW = 60.0
_STOCK_SKEW = 86400.0


class Peer(Protocol):
    """What a connection needs from the protocol below it."""

    #: How log lines call the other end.
    label: str
    #: Returns whether to write one more log line of a kind, which the client has caused.
    admit: Callable[..., bool]

    @property
    def is_extended(self) -> bool:
        """Whether the client is one of ours, too."""

    @property
    def encoding(self) -> bytes:
        """The letter of the encoding, see `zeotwisted.protocol.codecs`."""

    def registered(self) -> None:
        """All calls are allowed now."""

    def push(self, name: str, *args: Any) -> None:
        """Send a call that is not answered."""

    def tell(self, news: Broadcast) -> None:
        """Send a call that many clients are sent, together with what follows, or with `send`."""

    def send(self) -> None:
        """Send what it was told."""

    def drop(self, reason: str) -> None:
        """Log the reason and end the connection."""

    def writable(self) -> Deferred[None]:
        """Return a Deferred that fires when there is room for more bulk data."""


class Gone:
    """Takes the peer's place when the connection is lost, and does nothing.

    What is still under way has somebody to talk to, and does not keep the connection in memory.
    """

    def __init__(self, peer: Peer) -> None:
        self.label = peer.label
        self.is_extended = peer.is_extended
        self.encoding = peer.encoding
        self.admit = peer.admit

    def registered(self) -> None: ...

    def push(self, name: str, *args: Any) -> None: ...

    def tell(self, news: Broadcast) -> None: ...

    def send(self) -> None: ...

    def drop(self, reason: str) -> None: ...

    def writable(self) -> Deferred[None]:
        return succeed(None)


class Answer(NamedTuple):
    """The answer to a commit, which is written together with news of the storage."""

    value: Any
    #: The news. They come before the answer: the client may look at them as soon as it has that.
    info: dict[str, Any]
    #: What to do as soon as it is written.
    then: Callable[[], None]


class ServerConnection:
    """One client, from its registration to the end.

    :param storages: the server's storages by name.
    """

    _log = Logger()

    def __init__(self, peer: Peer, storages: Mapping[str, ServedStorage]) -> None:
        self._peer = peer
        self._storages = storages
        self.label = peer.label
        self._is_labelled = False
        self._read_only = False
        # The slow calls of one client are done one after the other.
        self._slow = Turns()
        self._downloads = Turns()
        self._transaction: ServerTransaction | None = None
        self._upload: blobs.BlobUpload | None = None
        self._registered: ServedStorage | None = None

    @property
    def _gone(self) -> bool:
        """Whether the connection is lost."""
        return type(self._peer) is Gone

    @property
    def _served(self) -> ServedStorage:
        assert self._registered is not None
        return self._registered

    @property
    def _storage(self) -> Any:
        return self._served.storage

    def call(self, call: Call, args: tuple[Any, ...]) -> Any:
        """Do what the client asks for: return the result, or a coroutine that will.

        :raises ZODB.POSException.ReadOnlyError: it writes, and the client registered as a reader.
        """
        if self._read_only and call.writes:
            raise ReadOnlyError()
        return _REMOTE[call.name](self, *args)

    def failed(self, error: Exception) -> bool:
        """A one-way call failed. Return whether the client will hear of it: from its vote."""
        transaction = self._transaction
        if transaction is None or transaction.phase is not Phase.COLLECTING:
            return False
        transaction.fail(error)
        return True

    async def lost(self, is_told: bool = False) -> None:
        """The client is gone: release all that it holds.

        :param is_told: the log says so already, or need not.
        """
        self._peer = Gone(self._peer)
        if self._registered is None:
            return
        if not is_told:
            self._has_gone()
        self._registered.unregister(self)
        self._cancel_upload()
        if self._transaction is not None:
            await self._transaction.abort()
            self._transaction = None
        # A slow call may be using one.
        await self._slow.run(self._iterators.close)

    def _has_gone(self) -> None:
        transaction = self._transaction
        if transaction is None and not self._is_labelled:
            self._log.debug("({label}) disconnected", label=self.label)
        elif self.admit(Kind.CAME_OR_WENT):
            what = "" if transaction is None else f" during {_held(transaction)} transaction"
            self._log.info("({label}) disconnected{what}", label=self.label, what=what)

    # What the storage tells its clients.

    def tell(self, news: Broadcast) -> None:
        self._peer.tell(news)

    def send(self) -> None:
        self._peer.send()

    def drop(self, reason: str) -> None:
        self._peer.drop(reason)

    def admit(self, kind: Kind) -> bool:
        return self._peer.admit(kind)

    # The beginning.

    def remote_register(self, storage_id: str, read_only: bool | int | None) -> bytes:
        if self._registered is not None:
            raise StorageTransactionError("this client has registered already")
        served = self._storages.get(storage_id)
        if served is None:
            names = ", ".join(repr(name) for name in sorted(self._storages))
            raise ValueError(f"unknown storage: {storage_id!r}; this server has {names}")
        if served.read_only and not read_only:
            raise ReadOnlyError(f"storage {storage_id!r} is served read-only")
        self._read_only = bool(read_only) or served.read_only
        self._registered = served
        self._iterators = Iterators(served.storage)
        self._peer.registered()
        self._log.debug("({label}) uses storage {id!r}", label=self.label, id=storage_id)
        return served.register(self)

    def remote_set_client_label(self, label: str | bytes) -> None:
        # Four bytes make a character at most, and a label may be as long as a message.
        start = label[:320]
        text = start.decode("utf-8", "replace") if isinstance(start, bytes) else start
        # A line break would let a client write log lines of its own.
        printable = "".join(char if char.isprintable() else "?" for char in text[:80])
        label = f"{printable} {self._peer.label}"
        if label == self.label:
            return
        self.label = label
        kind = Kind.RELABELLED if self._is_labelled else Kind.CAME_OR_WENT
        self._is_labelled = True
        if self.admit(kind):
            self._log.info(
                "({label}) connected: {peer} is {name}",
                label=label,
                peer=self._peer.label,
                name=printable,
            )

    # The storage as a whole.

    def remote_get_info(self) -> dict[str, Any]:
        info = self._served.info()
        if self._peer.is_extended:
            info["tid_at_vote"] = self._served.tids is not None
            info["instance"] = self._served.instance
        return info

    def remote_lastTransaction(self) -> bytes:
        return self._served.last_transaction

    def remote_getInvalidations(self, tid: bytes) -> Any:
        served = self._served
        known = served.known_invalidations(tid)
        if known is None and served.may_read_changes(tid):
            read = self._in_thread(served.read_changes, tid, served.last_transaction)
            return read.addCallback(self._changes)
        return self._changes(known)

    def _changes(self, changes: tuple[bytes, bytes] | None) -> Any:
        if changes is None or self._peer.is_extended:
            return changes
        tid, oids = changes
        return tid, list(set(split(oids)))

    def remote_server_status(self) -> dict[str, Any]:
        return self._served.status()

    def remote_ping(self) -> None:
        pass

    def remote_pack(self, time: float, wait: bool | int | None = True) -> Any:
        self._check_may_pack()
        packed = Deferred.fromCoroutine(self._pack(self._served.pack_time(time, self._patience)))
        if wait:
            return packed
        packed.addErrback(self._pack_failed)
        return None

    def _pack_failed(self, failure: Failure) -> None:
        if self.admit(Kind.CALL):
            self._log.failure("({label}) pack failed", failure, label=self.label)

    def _check_may_pack(self) -> None:
        if self._served.read_only:
            raise ReadOnlyError(f"storage {self._served.storage_id!r} is served read-only")
        # ZEO's tools for packing register as readers.
        if self._read_only and self._peer.is_extended:
            raise ReadOnlyError("this client is read-only; open it for writing to pack")

    @property
    def _patience(self) -> float:
        """How far (seconds) a pack time may be in the future."""
        return _SKEW if self._peer.is_extended else _STOCK_SKEW

    async def _pack(self, time: float) -> None:
        served = self._served
        is_told = self.admit(Kind.PACK)
        about: dict[str, Any] = {"label": self.label, "id": served.storage_id}
        if is_told:
            self._log.info("({label}) pack of {id!r} begins", **about)
        await served.pack(time)
        if is_told:
            self._log.info("({label}) pack of {id!r} is done", **about)

    # Records.

    def remote_loadBefore(self, oid: bytes, tid: bytes) -> Any:
        served = self._registered
        assert served is not None
        served.stats.loads += 1
        if served.loads is not None:
            return served.loads.load_before(oid, tid)
        # In the reactor's thread, and answered in the same turn: nothing that this answer does
        # not know of can be sent before it.
        return served.storage.loadBefore(oid, tid)

    def remote_loadManyBefore(self, oids: Sequence[bytes], tid: bytes) -> Any:
        served = self._served
        if served.loads is not None:
            answer = Deferred.fromCoroutine(served.loads.load_many_before(oids, tid))
            return answer.addCallback(self._count_loads)
        # All in one turn, and answered in it, as a single one is.
        return self._count_loads(load_many_before(served.storage.loadBefore, oids, tid))

    def _count_loads(self, answer: list[Any]) -> list[Any]:
        self._served.stats.loads += len(answer)
        return answer

    def remote_loadSerial(self, oid: bytes, serial: bytes) -> bytes:
        return self._storage.loadSerial(oid, serial)

    def remote_getTid(self, oid: bytes) -> bytes:
        return self._storage.getTid(oid)

    def remote_history(self, oid: Any, size: Any = 1) -> Any:
        # Clients of version 5 may pass None for both: then the storage's error is the answer.
        return self._in_thread(
            lambda: self._entries(
                metadata.history(self._storage, oid, size), metadata.described_history
            )
        )

    def remote_record_iternext(self, next: bytes | None = None) -> Any:
        return self._in_thread(self._storage.record_iternext, next)

    def remote_sendBlob(self, oid: bytes, serial: bytes) -> Deferred[None]:
        return self._downloads.run(lambda: Deferred.fromCoroutine(self._send_blob(oid, serial)))

    async def _send_blob(self, oid: bytes, serial: bytes) -> None:
        if self._gone:
            return
        blobs.require_blobs(self._storage)
        filename = await self._blob_file(oid, serial)
        self._peer.push("receiveBlobStart", oid, serial)
        for chunk in blobs.read_chunks(filename, self._peer.is_extended):
            self._peer.push("receiveBlobChunk", oid, serial, chunk)
            await self._peer.writable()
            if self._gone:
                return
        self._peer.push("receiveBlobStop", oid, serial)

    async def _blob_file(self, oid: bytes, serial: bytes) -> str:
        served = self._served
        if served.loads is None:
            return served.storage.loadBlob(oid, serial)
        # It may have to fetch it first, from where it has its records.
        return await served.in_thread(served.storage.loadBlob, oid, serial)

    # The log of transactions.

    def remote_undoLog(self, first: int, last: int) -> Any:
        return self.remote_undoInfo(first, last, None)

    def remote_undoInfo(self, first: int, last: int, spec: dict[str, Any] | None) -> Any:
        if not self._served.supports_undo:
            return ()
        return self._in_thread(
            lambda: self._entries(
                metadata.undo_log(self._storage, first, last, spec), metadata.described_undo_log
            )
        )

    def _entries(
        self, entries: list[metadata.Entry], describe: Callable[[metadata.Entry, bytes], Any]
    ) -> list[Any]:
        """Return entries of a log as the client takes them: stored, or described in version 5."""
        if self._peer.is_extended:
            return entries
        return [describe(entry, self._peer.encoding) for entry in entries]

    def remote_iterator_start(self, start: bytes | None, stop: bytes | None) -> Any:
        return self._in_thread(self._iterators.start, start, stop)

    def remote_iterator_next(self, iid: int) -> Any:
        return self._in_thread(self._next_transaction, iid)

    def _next_transaction(self, iid: int) -> Any:
        item = self._iterators.next(iid)
        if item is None or self._peer.is_extended:
            return item
        *own, extension = item
        return (*own, metadata.shown(extension, self._peer.encoding))

    def remote_iterator_record_start(self, iid: int, tid: bytes) -> Any:
        return self._in_thread(self._iterators.start_records, iid, tid)

    def remote_iterator_record_next(self, iid: int) -> Any:
        return self._in_thread(self._iterators.next_record, iid)

    def remote_iterator_gc(self, iids: Sequence[int]) -> Any:
        return self._in_thread(self._iterators.forget, iids)

    def _in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        return self._slow.run(self._run_slow, function, *args)

    def _run_slow(self, function: Callable[..., Any], *args: Any) -> Any:
        # What a client left behind in the queue is not worth a thread.
        return None if self._gone else self._served.in_thread(function, *args)

    # New objects.

    def remote_new_oid(self) -> bytes:
        return self._storage.new_oid()

    def remote_new_oids(self, n: int = 100) -> list[bytes]:
        return [self._storage.new_oid() for _ in range(min(max(n, 1), 100))]

    # A transaction.

    def remote_tpc_begin(
        self,
        id: int,
        user: str | bytes,
        description: str | bytes,
        extension: dict[Any, Any] | bytes,
        tid: bytes | None = None,
        status: str | bytes = " ",
    ) -> None:
        if self._transaction is not None:
            raise StorageTransactionError("this client is in a transaction already")
        if isinstance(status, bytes):
            status = status.decode("ascii", "replace")
        about = metadata.Metadata(user, description, extension)
        self._transaction = ServerTransaction(id, self, self._served, about, tid, status)

    def _current(self, id: int) -> ServerTransaction:
        transaction = self._transaction
        if transaction is None or transaction.id != id:
            raise StorageTransactionError("not the current transaction of this client")
        return transaction

    def _collecting(self, id: int) -> CommitLog:
        """Return where the operations of the current transaction go."""
        transaction = self._current(id)
        transaction.expect("store")
        return transaction.commit_log

    def remote_storea(self, oid: bytes, serial: bytes | str | None, data: bytes, id: int) -> None:
        self._collecting(id).add("store", oid, serial, data)
        self._served.stats.stores += 1

    def remote_restorea(
        self, oid: bytes, serial: bytes, data: bytes | None, prev_txn: bytes | None, id: int
    ) -> None:
        self._collecting(id).add("restore", oid, serial, data, prev_txn)
        self._served.stats.stores += 1

    def remote_deleteObject(self, oid: bytes, serial: bytes | str | None, id: int) -> None:
        self._collecting(id).add("deleteObject", oid, serial)
        self._served.stats.stores += 1

    def remote_checkCurrentSerialInTransaction(
        self, oid: bytes, serial: bytes | str | None, id: int
    ) -> None:
        self._collecting(id).add("checkCurrentSerialInTransaction", oid, serial)

    def remote_undoa(self, trans_id: bytes, id: int) -> None:
        self._collecting(id).add("undo", trans_id)

    def remote_storeBlobStart(self) -> None:
        if self._upload is not None:
            raise StorageTransactionError("the client sends two blobs at a time")
        self._upload = blobs.BlobUpload(self._storage)

    def remote_storeBlobChunk(self, chunk: bytes) -> None:
        if self._upload is None:
            raise StorageTransactionError("a part of a blob without its beginning")
        try:
            self._upload.write(chunk)
        except OSError:
            # The disk is full, and should not stay so.
            self._cancel_upload()
            raise

    def _cancel_upload(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.cancel()

    def remote_storeBlobEnd(
        self, oid: bytes, serial: bytes | str | None, data: bytes, id: int
    ) -> None:
        self._blob_end(id, "storeBlob", oid, serial, data)

    def remote_restoreBlobEnd(
        self, oid: bytes, serial: bytes, data: bytes, prev_txn: bytes | None, id: int
    ) -> None:
        self._blob_end(id, "restoreBlob", oid, serial, data, prev_txn)

    def _blob_end(self, id: int, operation: str, *args: Any) -> None:
        if self._upload is None:
            raise StorageTransactionError("the end of a blob without its beginning")
        log = self._collecting(id)
        upload, self._upload = self._upload, None
        log.add_file(operation, *args, filename=upload.finish())
        self._served.stats.stores += 1

    def remote_storeBlobShared(
        self, oid: bytes, serial: bytes | str | None, data: bytes, name: str, id: int
    ) -> None:
        log = self._collecting(id)
        filename = blobs.shared_file(self._storage, oid, name)
        log.add_file("storeBlob", oid, serial, data, filename=filename)
        self._served.stats.stores += 1

    async def remote_vote(self, id: int) -> Any:
        transaction = self._current(id)
        try:
            result = await transaction.vote()
        finally:
            self._forget_if_over(transaction)
        return (result, transaction.tid) if self._peer.is_extended else result

    async def remote_tpc_finish(self, id: int) -> Answer:
        transaction = self._current(id)
        try:
            tid, sizes = await transaction.finish()
        finally:
            self._forget_if_over(transaction)

        def then() -> None:
            transaction.answered()
            self._forget_if_over(transaction)

        return Answer(tid, sizes, then)

    def remote_tpc_outcome(self, tid: bytes, oid: bytes | None) -> Coroutine[Any, Any, bool]:
        return self._served.outcome(tid, oid)

    async def remote_tpc_abort(self, id: int) -> None:
        self._cancel_upload()
        # Clients abort whatever they were in, and a transaction that failed is over already.
        transaction = self._transaction
        if transaction is not None and transaction.id == id:
            try:
                await transaction.abort()
            finally:
                self._forget_if_over(transaction)

    def _forget_if_over(self, transaction: ServerTransaction) -> None:
        if transaction.over and self._transaction is transaction:
            self._transaction = None


def _held(transaction: ServerTransaction) -> str:
    """Return what ZEO's log lines call a transaction that has the commit lock, or has not."""
    return "locked" if transaction.has_lock else "unlocked"


#: What does each call of `zeotwisted.protocol.methods.SERVER_CALLS`.
_REMOTE: Mapping[str, Callable[..., Any]] = {
    name.removeprefix("remote_"): method
    for name, method in vars(ServerConnection).items()
    if name.startswith("remote_")
}
