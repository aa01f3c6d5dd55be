"""`ClientStorage`: a ZODB storage whose data is at a server."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from threading import get_ident
from typing import IO, Any

from ZODB import event, interfaces
from ZODB.blob import is_blob_record
from ZODB.ConflictResolution import ConflictResolvingStorage
from ZODB.POSException import (
    ConflictError,
    POSError,
    POSKeyError,
    ReadOnlyError,
    StorageTransactionError,
    Unsupported,
)
from ZODB.utils import maxtid, z64
from zope.interface import alsoProvides, implementer

from zeotwisted.arguments import checked
from zeotwisted.exceptions import ClientDisconnected, ClientStorageError
from zeotwisted.interfaces import StaleCache
from zeotwisted.reactor import call_after_fork

from .arguments import CLIENT_STORAGE
from .blobs import client_blobs, open_blob
from .cache import ClientCache, open_cache
from .calls import ClientProtocol, Waiter
from .commit import ClientTransaction, CommitGate, Entry, Votes, entries, history, undo_log
from .connection import Link, Target, Wanted, client_security, parse_address
from .history import TransactionIterator, copy_transactions, warn_of_missing_blob
from .records import Coherence, Prefetches, ReadAhead, StorageInfo, into_cache

__all__ = ["ClientStorage"]

_log = logging.getLogger("zeotwisted.client")

MB = 1024 * 1024

#: How long (seconds) to wait for the storage's size, which nobody needs to know exactly.
_INFO_TIMEOUT = 2.0

#: What a client provides if the served storage does.
_OPTIONAL_INTERFACES = (
    interfaces.IStorageRestoreable,
    interfaces.IStorageIteration,
    interfaces.IStorageUndoable,
    interfaces.IStorageCurrentRecordIteration,
    interfaces.IExternalGC,
)

#: Of all storages of this process: two of them may be clients of one storage at a server.
_votes = Votes()

_NOT_YET = {
    "_client_factory": "another implementation of the connection",
}


@implementer(interfaces.IMultiCommitStorage, interfaces.IPrefetchStorage)
class ClientStorage(ConflictResolvingStorage):
    """A storage that is a network client of a zeotwisted or ZEO server.

    It may be used by any number of threads; transactions go one after the other, from
    ``tpc_begin`` to their ends. Methods that need the server wait up to `wait_timeout` seconds for
    a connection, then raise `ClientDisconnected`. A call that is under way when the connection is
    lost raises it at once.

    The arguments up to `realm` are those of ``ZEO.ClientStorage.ClientStorage``.

    :param addr: the server: a port on this machine, a ``(host, port)`` pair, or the path of a Unix
        socket; or a list of such, of servers that have the same data. They are tried all at once,
        and the first one that fits is used.
    :param storage: the storage's name at the server.
    :param cache_size: how many bytes of records to keep, overhead included; a file has at least
        64 KB.
    :param cache: the path of a file to keep them in, so that they survive a restart; or any object
        with the interface of ZEO's client caches. By default, they are kept in memory.
    :param client: without `cache`, keep them in the file ``<client>-<storage>.zec``.
    :param var: the folder of that file; the current one by default.
    :param name: what `getName` and log lines call this storage; by default its address.
    :param wait_timeout: in seconds, 30 by default.
    :param read_only: refuse to write, and accept a server that allows reading only.
    :param read_only_fallback: accept a server that allows reading only while there is no other;
        change to one that allows writing as soon as there is one.
    :param blob_dir: a directory for blobs, of its own or shared with other clients on this machine,
        also ZEO's; without it there are no blobs.
    :param shared_blob_dir: `blob_dir` is the server's own, which this machine sees, too.
    :param blob_cache_size: how large `blob_dir` may become, in bytes; any size by default.
    :param blob_cache_size_check: how much of `blob_cache_size` may be added, in percent, before the
        files that have not been used for the longest time are removed.
    :param client_label: what the server's log lines call this client.
    :param ssl: speak TLS: an `ssl.SSLContext`, what `twisted.internet.ssl.optionsForClientTLS`
        returns, or a `twisted.internet.ssl.CertificateOptions`.
    :param ssl_server_hostname: the host that the server's certificate must be for, if it is not
        that of `addr`; not with ``optionsForClientTLS``, which has it already.
    :param wait: wait for the connection before returning.
    :param server_sync: `sync`, which begins each transaction, makes a round trip, so that it sees
        all that was committed before.
    :param reactor: a Twisted application's reactor to use instead of a private one.
    :param liveness_timeout: how long (seconds) the server may be silent, although it was asked
        whether it is there; then the connection is lost. A call that waits notices within half of
        that, or five sixths with ZEO's servers, which are silent while they vote and finish.
        0 or None: for ever.
    :param refuse_older_server: refuse a server whose last transaction is older than the last
        one seen here, for example since a backup was restored. By default what is cached is
        dropped, and the server is used.
    :param read_ahead: while the application follows the references of a record in their order, load
        some of the next ones together with the one that is wanted. It needs a zeotwisted server.
    :raises ClientDisconnected: no server, or none that accepts this client, within `wait_timeout`.
    :raises ProtocolError: the peer is not a ZEO server.
    :raises ValueError: an argument can never work, or `blob_dir` is not what it should be. The text
        says what to write instead.
    :raises zeotwisted.clientstorage.cache.CacheFileError: the cache file is in use, or cannot be
        used.
    :raises NotImplementedError: an argument that this version does not know how to handle yet.

    `disconnect_poll`, `min_disconnect_poll`, `max_disconnect_poll`, `drop_cache_rather_verify`,
    `credentials`, `username`, `password` and `realm` have no effect; they are accepted because
    existing configurations contain them.
    """

    def __init__(
        self,
        addr: Any,
        storage: str = "1",
        cache_size: int = 20 * MB,
        name: str = "",
        wait_timeout: float | None = None,
        disconnect_poll: Any = None,
        read_only: bool | int = False,
        read_only_fallback: bool | int = False,
        blob_dir: str | None = None,
        shared_blob_dir: bool = False,
        blob_cache_size: int | None = None,
        blob_cache_size_check: int = 10,
        client_label: str | None = None,
        cache: Any = None,
        ssl: Any = None,
        ssl_server_hostname: str | None = None,
        client: str | None = None,
        var: str | None = None,
        min_disconnect_poll: Any = 1,
        max_disconnect_poll: Any = None,
        wait: bool = True,
        drop_cache_rather_verify: bool = True,
        credentials: Any = None,
        server_sync: bool = False,
        username: Any = None,
        password: Any = None,
        realm: Any = None,
        _client_factory: Any = None,
        reactor: Any = None,
        liveness_timeout: float | None = 60.0,
        refuse_older_server: bool = False,
        read_ahead: bool = False,
    ) -> None:
        given = locals()
        for argument, what in _NOT_YET.items():
            if given[argument]:
                raise NotImplementedError(f"{argument}: {what} is not supported yet")
        valid = checked(CLIENT_STORAGE, given)
        wanted = Wanted.EITHER if valid.read_only_fallback else Wanted.WRITABLE
        target = Target(
            tuple(valid.addr),
            valid.storage,
            Wanted.READ_ONLY if valid.read_only else wanted,
            valid.refuse_older_server,
            valid.liveness_timeout,
            client_security(ssl, valid.ssl_server_hostname),
        )
        self.__name__ = name or str(("127.0.0.1", addr) if isinstance(addr, int) else addr)
        self._cache_size = valid.cache_size
        self._wait_timeout = 30.0 if wait_timeout is None else valid.wait_timeout
        self._wants_read_only = valid.read_only
        self._client_label = client_label
        self._server_sync = valid.server_sync
        self._reads_ahead = valid.read_ahead
        self._own_reactor = reactor
        self._db: Any = None
        self._server_addr: str | None = None
        #: What tells the served storage from all others in the world.
        self._served_storage: tuple[str, str] = ("", "")
        #: Encoding and version that were agreed upon with the server, for example ``b"M6"``.
        self.protocol_version = b""
        self._blobs = client_blobs(
            valid.blob_dir, valid.shared_blob_dir, valid.blob_cache_size, blob_cache_size_check
        )
        # Whether the served storage has blobs.
        self._served_blobs = False
        self.blob_dir = valid.blob_dir
        self.shared_blob_dir = valid.shared_blob_dir
        #: ZODB's view of the folder; None without `blob_dir`.
        self.fshelper = self._blobs.fshelper
        if blob_dir is not None:
            alsoProvides(self, interfaces.IBlobStorage)
        self._cache = open_cache(valid.cache, client, var, storage, valid.cache_size)
        self._start_parts(target)
        self._info = StorageInfo(lambda: self._coherence.last_transaction())
        self._blobs.start()
        call_after_fork(self)
        self._link.begin()
        if valid.wait:
            try:
                self._link.wait_for_first(self._wait_timeout)
            except BaseException:
                # Nobody will have this object to close it.
                self.close()
                raise

    def _start_parts(self, target: Target) -> None:
        """Make what belongs to this process and its threads."""
        self._coherence = Coherence(
            self._cache, self.invalidateTransaction, self.invalidateCache, self._notify_stale
        )
        self._prefetches = Prefetches(self._coherence)
        self._read_ahead = ReadAhead(self._coherence) if self._reads_ahead else None
        self._gate = CommitGate()
        self._oids: deque[bytes] = deque()
        # Numbers of iterators that are not needed any more, with the connections they belong to.
        self._dropped: deque[tuple[ClientProtocol, int]] = deque()
        self._link = Link(target, self._own_reactor, self._coherence, self, self.__name__)

    def forked(self) -> None:
        """This is a child process: connect anew when somebody needs the server.

        The transaction that was open belongs to the parent, as do the records in the cache.
        """
        last_tid = self._cache.getLastTid()
        if hasattr(self._cache, "abandon"):
            _log.info("%s: after a fork, records are cached in memory", self.__name__)
            self._cache.abandon()
        self._cache = ClientCache(self._cache_size)
        inherited = self._link
        inherited.abandon()
        self._blobs.forked()
        self._start_parts(inherited.target)
        self._cache.setLastTid(last_tid)
        if self._own_reactor is not None:
            _log.error("%s: its reactor belongs to the parent process", self.__name__)
            self._link.begin_closing()

    def close(self) -> None:
        """Close the connection and the cache. Calls that wait raise `ClientDisconnected`."""
        if not self._link.begin_closing():
            return
        self._gate.close()
        try:
            self._link.let_go()
        finally:
            self._cache.close()
            self._blobs.close()

    # The connection.

    def _protocol(self, timeout: float | None = None) -> ClientProtocol:
        protocol = self._link.ready or self._link.begin().wait(
            self._wait_timeout if timeout is None else timeout
        )
        if self._dropped:
            self._tell_dropped_iterators(protocol)
        return protocol

    def _writable_protocol(self, timeout: float) -> ClientProtocol:
        return self._link.begin().wait(timeout, writable=True)

    def _call(self, name: str, *args: Any, timeout: float | None = None) -> Any:
        return self._protocol(timeout).ask(Waiter(), name, *args)

    def _call_versioned(self, name: str, *args: Any) -> tuple[Any, bool]:
        """Return the result, and whether it is one of version 6."""
        protocol = self._protocol()
        return protocol.ask(Waiter(), name, *args), protocol.is_extended

    def is_connected(self, test: bool = False) -> bool:
        """Return whether there is a connection to a server.

        :param test: make a round trip to find out, which takes as long as other calls that wait.
        """
        return self._link.is_connected(test)

    def new_addr(self, addr: Any) -> None:
        """Look for servers at other addresses; a connection that is in use stays."""
        self._link.new_addresses(parse_address(addr))

    def notify_connected(self, conn: ClientProtocol, info: dict[str, Any]) -> None:
        """Called in the reactor's thread when the connection is about to be used.

        :param conn: may be used for calls that do not wait.
        :param info: what the server tells of the storage.
        """
        self._server_addr = _peer_name(conn.connected_to)
        self.protocol_version = conn.version
        conn.tells_tids = bool(info.get("tid_at_vote"))
        # A stock server does not tell, and has an address for each way to reach it.
        instance = info.get("instance") or self._server_addr
        self._served_storage = (instance, self._link.target.storage_id)
        self._info.connected(info)
        provided = set(map(tuple, info.get("interfaces", ())))
        for interface in _OPTIONAL_INTERFACES:
            if _name(interface) in provided:
                alsoProvides(self, interface)
        restores_blobs = _name(interfaces.IBlobStorageRestoreable) in provided
        self._served_blobs = restores_blobs or _name(interfaces.IBlobStorage) in provided
        if restores_blobs and conn.is_extended and self.blob_dir is not None:
            alsoProvides(self, interfaces.IBlobStorageRestoreable)
        if self._client_label:
            conn.oneway("set_client_label", self._client_label)
        _log.info(
            "%s: connected to %s as %s", self.__name__, self._server_addr, conn.version.decode()
        )

    def notify_disconnected(self) -> None:
        """Called in the reactor's thread when the connection is lost."""
        # The server that comes next may have been started anew, and give them to others, too.
        self._oids.clear()

    def info(self, dict: dict[str, Any]) -> None:
        """Called in the reactor's thread with news about the storage."""
        self._info.update(dict)

    def receive_blob(self, name: str, args: tuple[Any, ...]) -> None:
        """Called in the reactor's thread with a part of a blob."""
        self._blobs.receive(name, args)

    def ping(self) -> None:
        """Make a round trip to the server."""
        self._call("ping")

    def sync(self, force: bool = True) -> None:
        """Wait for outstanding invalidations, if the storage was made with `server_sync`."""
        if self._server_sync:
            self.ping()

    def server_status(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the server's counters for this storage."""
        return self._call("server_status", timeout=timeout)

    # The database above.

    def registerDB(self, db: Any) -> None:
        """Register the database, which is told of changes."""
        super().registerDB(db)
        self._db = db

    def invalidateTransaction(self, tid: bytes, oids: Sequence[bytes]) -> None:
        """Called in the reactor's thread: the transaction `tid` has changed `oids`."""
        if self._db is not None:
            self._db.invalidate(tid, oids)

    def invalidateCache(self) -> None:
        """Called in the reactor's thread: anything may have changed."""
        if self._db is not None:
            self._db.invalidateCache()

    def _notify_stale(self) -> None:
        try:
            # Applications replace this function of ZODB's.
            event.notify(StaleCache(self))
        except Exception:
            # The client can go on, whatever its subscribers cannot do.
            _log.exception("%s: a subscriber of StaleCache failed", self.__name__)

    def cache_statistics(self) -> dict[str, int]:
        """Return what the cache has done since it was opened, and what is in it.

        Empty if it is a cache object that does not count in our way.
        """
        statistics = getattr(self._cache, "statistics", None)
        if statistics is None:
            return {}
        return {**asdict(statistics), "entries": len(self._cache), "bytes": self._cache.used}

    # The storage as a whole.

    def __len__(self) -> int:
        """Return how many objects there are, approximately."""
        return self._info.current("length", self._ask_for_info)

    def _ask_for_info(self) -> dict[str, Any] | None:
        protocol = self._link.ready
        if protocol is None or not self._may_wait():
            return None
        try:
            return protocol.ask(Waiter(), "get_info", timeout=_INFO_TIMEOUT)
        except (POSError, TimeoutError):
            # The last known size is better than none.
            return None

    def getName(self) -> str:
        """Return the name, and whether there is a connection."""
        return f"{self.__name__} ({'connected' if self.is_connected() else 'disconnected'})"

    def getSize(self) -> int:
        """Return the approximate size of the database, in bytes."""
        return self._info.current("size", self._ask_for_info)

    def supportsUndo(self) -> bool:
        """Return whether transactions can be undone."""
        return bool(self._info["supportsUndo"])

    def is_read_only(self) -> bool:
        """Return whether writing is refused, by us or by the server."""
        ready = self._link.ready
        return self._wants_read_only or (ready is not None and ready.read_only)

    isReadOnly = is_read_only

    def sortKey(self) -> str:
        """Return what the order of several storages' commits depends on.

        :raises ClientDisconnected: there was no connection yet.
        """
        if self._server_addr is None:
            raise ClientDisconnected("not connected to a server yet")
        return f"{self._link.target.storage_id}:{self._server_addr}"

    def lastTransaction(self) -> bytes:
        """Return the last transaction that the database has been told of.

        :raises ClientDisconnected: there was no connection yet, and there is none in time.
        """
        tid = self._coherence.last_transaction()
        if tid == z64 and self._server_addr is None and self._may_wait():
            # "None" would be a snapshot of the database before its root was made.
            self._protocol()
            tid = self._coherence.last_transaction()
        return tid

    def _may_wait(self) -> bool:
        return not self._link.closed and not self._link.is_current()

    def pack(
        self,
        t: float | None = None,
        referencesf: Any = None,
        wait: bool | int = True,
        days: float = 0,
    ) -> None:
        """Pack the storage at the server.

        :param t: seconds since the epoch, now by default.
        :param referencesf: ignored: the server has its own.
        :param wait: return when it is done.
        :param days: to be subtracted from `t`.
        :raises ZODB.POSException.ReadOnlyError: this client, or the server, is read-only.
        :raises ZODB.POSException.StorageError: `t` is in the future.
        """
        if self.is_read_only():
            raise ReadOnlyError("this client is read-only; open it for writing to pack")
        self._call("pack", (time.time() if t is None else t) - days * 86400, bool(wait))

    # Records.

    def load(self, oid: bytes, version: str = "") -> tuple[bytes, bytes]:
        """Return data and tid of the current revision.

        :raises ZODB.POSException.POSKeyError: there is none.
        """
        result = self.loadBefore(oid, maxtid)
        if result is None:
            raise POSKeyError(oid)
        return result[:2]

    def loadBefore(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return data, tid and next tid of the revision before `tid`, or None.

        :raises ZODB.POSException.POSKeyError: the object does not exist.
        """
        cached = self._coherence.load_before(oid, tid)
        if cached is None and self._may_be_in_file():
            cached = self._coherence.load_before(oid, tid)
        if cached is None and self._prefetches.wait_for(oid):
            cached = self._coherence.load_before(oid, tid)
        if cached is not None:
            return cached
        protocol = self._protocol()
        if self._read_ahead is not None and protocol.is_extended:
            return self._read_ahead.load(protocol, oid, tid)
        waiter = Waiter(into_cache(self._coherence, oid))
        return protocol.load(waiter, oid, tid)

    def _may_be_in_file(self) -> bool:
        """Return whether it is worth looking into the cache once more."""
        if self._link.ready is None and hasattr(self._cache, "wait_until_indexed"):
            # While there is no server, the file has to say all that it can.
            self._cache.wait_until_indexed()
            return True
        return False

    def prefetch(self, oids: Iterable[bytes], tid: bytes) -> None:
        """Have records brought into the cache; do not wait for them."""
        self._prefetches.prefetch(self._protocol(), oids, tid)

    def loadSerial(self, oid: bytes, serial: bytes) -> bytes:
        """Return the data of the revision `serial`."""
        return self._call("loadSerial", oid, serial)

    def getTid(self, oid: bytes) -> bytes:
        """Return the tid of the current revision."""
        return self._call("getTid", oid)

    def history(self, oid: bytes, size: int = 1) -> Sequence[dict[str, Any]]:
        """Return descriptions of the last `size` revisions."""
        return history(*self._call_versioned("history", oid, size))

    def stored_history(self, oid: bytes, size: int) -> list[Entry]:
        """Do what `history` does, for a server of this storage, which must not load extensions."""
        result, extended = self._call_versioned("history", oid, size)
        return entries(result, "history", extended)

    def record_iternext(
        self, next: bytes | None = None
    ) -> tuple[bytes, bytes, bytes, bytes | None]:
        """Return oid, tid and data of a record, and what to pass for the one after it."""
        return self._call("record_iternext", next)

    def new_oid(self) -> bytes:
        """Return an oid that was never used."""
        if self.is_read_only():
            raise ReadOnlyError()
        oids = self._oids
        while True:
            # Another thread may take the last one at any moment.
            with contextlib.suppress(IndexError):
                return oids.popleft()
            oids.extend(self._call("new_oids"))

    # Blobs.

    def storeBlob(
        self,
        oid: bytes,
        serial: bytes | str | None,
        data: bytes,
        blobfilename: str,
        version: str,
        txn: Any,
    ) -> None:
        """Store a new revision of a blob; the file `blobfilename` is taken away."""
        if version:
            raise Unsupported("versions are not supported")
        self._blobs.store(self._transaction(txn), oid, _bytes(serial), data, blobfilename)

    def loadBlob(self, oid: bytes, serial: bytes) -> str:
        """Return the name of a file with a blob's content, which is fetched if need be.

        :raises ZODB.POSException.POSKeyError: there is no such blob.
        :raises OSError: the file cannot be written.
        """
        return self._blobs.load(self._protocol, oid, serial)

    def openCommittedBlobFile(self, oid: bytes, serial: bytes, blob: Any = None) -> Any:
        """Return a blob's content as a file that is open for reading. Raises as `loadBlob` does.

        :param blob: the object that is told when the file is closed.
        """
        return open_blob(self._blobs, self._protocol, oid, serial, blob)

    def temporaryDirectory(self) -> str:
        """Return where blobs may be written before they are stored."""
        return self._blobs.temporary_directory()

    # The log of transactions.

    def undoInfo(
        self, first: int = 0, last: int = -20, specification: dict[str, Any] | None = None
    ) -> Sequence[dict[str, Any]]:
        """Return descriptions of transactions that can be undone."""
        return undo_log(*self._call_versioned("undoInfo", first, last, specification))

    def stored_undo_log(
        self, first: int, last: int, specification: dict[str, Any] | None
    ) -> list[Entry]:
        """Do what `undoInfo` does, for a server of this storage, which must not load extensions."""
        result, extended = self._call_versioned("undoInfo", first, last, specification)
        return entries(result, "undoInfo", extended)

    def undoLog(
        self, first: int = 0, last: int = -20, filter: Any = None
    ) -> Sequence[dict[str, Any]]:
        """Return descriptions of transactions that can be undone.

        :param filter: cannot be sent to the server; the result is empty if there is one.
        """
        if filter is not None:
            return []
        return undo_log(*self._call_versioned("undoLog", first, last))

    def iterator(self, start: bytes | None = None, stop: bytes | None = None) -> Iterator[Any]:
        """Return an iterator over the transactions from tid `start` to tid `stop`."""
        protocol = self._protocol()

        def ask(name: str, *args: Any) -> Any:
            # A loop over transactions may drop an iterator over records each time.
            if self._dropped:
                self._tell_dropped_iterators(protocol)
            return protocol.ask(Waiter(), name, *args)

        return TransactionIterator(
            ask,
            lambda iid: self._dropped.append((protocol, iid)),
            start,
            stop,
        )

    def _tell_dropped_iterators(self, protocol: ClientProtocol) -> None:
        iids = []
        # Other threads do the same, and the garbage collector adds to it at any moment.
        with contextlib.suppress(IndexError):
            while True:
                owner, iid = self._dropped.popleft()
                # Another connection's iterators went with it.
                if owner is protocol:
                    iids.append(iid)
        if iids:
            # It leaves with the call for which the connection is wanted.
            with contextlib.suppress(ClientDisconnected):
                protocol.oneway("iterator_gc", iids, hold_back=True)

    def copyTransactionsFrom(self, other: Any, verbose: int = 0) -> None:
        """Copy all transactions of another storage, with their blobs.

        For blobs the server has to be one of zeotwisted, and its storage has to keep blobs, too.
        This client needs no folder for them.

        :param verbose: print tids and oids.
        :raises ZODB.POSException.Unsupported: there are blobs, and the server cannot restore them,
            or `other` was opened without them. Transactions before that one are copied.
        """
        copy_transactions(other, self, self._restore_blob, verbose)

    def _restore_blob(
        self,
        txn: Any,
        oid: bytes,
        serial: bytes,
        data: bytes,
        prev_txn: bytes | None,
        file: IO[bytes],
    ) -> None:
        transaction = self._transaction(txn)
        if not self._served_blobs:
            raise Unsupported(
                "the served storage cannot restore blobs; give it a folder for them (blob-dir)"
            )
        transaction.restore_blob(oid, serial, data, prev_txn, file)

    # A transaction.

    def tpc_begin(self, txn: Any, tid: bytes | None = None, status: str = " ") -> None:
        """Begin a transaction; wait for the one that is under way.

        :param tid: the tid to give to it, when a database is copied.
        :raises ZODB.POSException.StorageTransactionError: it has begun already, perhaps through
            another connection of the same database, and would wait for itself.
        """
        if self.is_read_only():
            raise ReadOnlyError()
        current = self._gate.current
        if current is not None and current.txn is txn:
            raise StorageTransactionError("Duplicate tpc_begin calls for same transaction")
        gate = self._gate
        if current is not None and self._link.is_current():
            raise ClientStorageError(
                "tpc_begin has to wait for another transaction, which cannot end while the "
                "reactor's own thread waits"
            )
        transaction = ClientTransaction(txn, self._cache_size)
        try:
            gate.enter(transaction, self._wait_timeout)
            protocol = self._protocol()
            if protocol.read_only:
                raise ReadOnlyError()
            transaction.begin(protocol, tid, status, self._coherence.last_transaction())
        except BaseException:
            gate.leave(transaction)
            raise

    def tpc_transaction(self) -> Any:
        """Return the transaction that is under way, or None."""
        current = self._gate.current
        return None if current is None else current.txn

    def _transaction(self, txn: Any) -> ClientTransaction:
        current = self._gate.current
        if current is None or current.txn is not txn:
            if self.is_read_only():
                raise ReadOnlyError()
            raise StorageTransactionError("not the transaction that is under way", txn)
        current.thread = get_ident()
        return current

    def store(
        self, oid: bytes, serial: bytes | str | None, data: bytes, version: str, txn: Any
    ) -> None:
        """Store a new revision of an object."""
        if version:
            raise Unsupported("versions are not supported")
        self._transaction(txn).store(oid, _bytes(serial), data)

    def deleteObject(self, oid: bytes, serial: bytes, txn: Any) -> None:
        """Delete an object, which a garbage collector found to be unreachable."""
        self._transaction(txn).delete(oid, serial)

    def checkCurrentSerialInTransaction(self, oid: bytes, serial: bytes, transaction: Any) -> None:
        """Have the vote fail if `serial` is not the current revision of the object."""
        self._transaction(transaction).check_serial(oid, serial)

    def restore(
        self,
        oid: bytes,
        serial: bytes,
        data: bytes | None,
        version: str,
        prev_txn: bytes | None,
        transaction: Any,
    ) -> None:
        """Store a revision that was committed in another database."""
        if version:
            raise Unsupported("versions are not supported")
        if data is not None and is_blob_record(data):
            warn_of_missing_blob(oid, serial)
        self._transaction(transaction).restore(oid, serial, data, prev_txn)

    def restoreBlob(
        self,
        oid: bytes,
        serial: bytes,
        data: bytes,
        blobfilename: str,
        prev_txn: bytes | None,
        transaction: Any,
    ) -> None:
        """Store a revision of a blob that was committed in another database.

        The file `blobfilename` is taken away.

        :raises ZODB.POSException.Unsupported: the server cannot do that.
        """
        with open(blobfilename, "rb") as file:
            self._restore_blob(transaction, oid, serial, data, prev_txn, file)
        os.remove(blobfilename)

    def undo(self, trans_id: bytes, txn: Any) -> None:
        """Undo an earlier transaction, as part of this one."""
        self._transaction(txn).undo(trans_id)

    def tpc_vote(self, txn: Any) -> list[bytes] | None:
        """Vote; return the oids of objects whose conflicts were resolved.

        :raises ZODB.POSException.ConflictError: a conflict cannot be resolved.
        :raises ZODB.POSException.StorageTransactionError: the same transaction has voted through
            another client of the same storage, and would wait for itself.
        """
        transaction = self._transaction(txn)
        where = self._served_storage
        _votes.refuse_second(where, transaction)
        try:
            resolved = transaction.vote(self.tryToResolveConflict)
        except ConflictError as error:
            if error.oid is not None:
                # Whatever the reason is for which the application read an old revision, it must
                # not read the same one when it tries again.
                self._coherence.forget(error.oid)
            raise
        _votes.add(where, transaction)
        return resolved

    def tpc_finish(self, txn: Any, f: Callable[[bytes], Any] = lambda tid: None) -> bytes:
        """Commit; return the tid.

        When the connection is lost meanwhile, this waits up to `wait_timeout` for a server that
        knows whether the transaction is committed.

        :param f: called with the tid before anything later can be seen.
        :raises ClientDisconnected: the connection is lost, and the transaction is not committed.
        :raises CommitInDoubt: the connection is lost, or the server failed, and there is no server
            to tell.
        :raises Exception: the server failed, and the transaction is not committed.
        """
        transaction = self._transaction(txn)
        try:
            tid = transaction.finish(
                self._coherence, f, self._writable_protocol, self._wait_timeout
            )
        except Exception:
            self._leave(transaction)
            raise
        if transaction.restores:
            # What is left of them may have come with the other database.
            self._oids.clear()
        # After Ctrl-C the server is still at it: tpc_abort follows, and waits until it is done.
        self._blobs.keep(transaction.blobs, tid)
        self._leave(transaction)
        return tid

    def _leave(self, transaction: ClientTransaction) -> None:
        _votes.remove(self._served_storage, transaction)
        self._gate.leave(transaction)
        self._blobs.discard(transaction.blobs)

    def tpc_abort(self, txn: Any, timeout: float | None = None) -> None:
        """Give the transaction up; nothing happens if it is not under way."""
        transaction = self._gate.current
        if transaction is None or transaction.txn is not txn:
            return
        try:
            transaction.abort()
        except ClientDisconnected:
            # The server aborts what a lost client leaves behind.
            _log.debug("%s: aborted by the loss of the connection", self.__name__)
        finally:
            self._leave(transaction)


def _name(interface: Any) -> tuple[str, str]:
    return interface.__module__, interface.__name__


def _peer_name(address: Any) -> str:
    host = getattr(address, "host", None)
    if host is not None:
        return str((host, address.port))
    name = getattr(address, "name", b"")
    return os.fsdecode(name) if name else "local"


def _bytes(serial: bytes | str | None) -> bytes | None:
    """Return a serial for the server; old code passes texts where an object is new."""
    if type(serial) is not str:
        return serial  # type: ignore[return-value]
    return serial.encode("ascii") if len(serial) == 8 and serial.isascii() else None
