"""`ClientStorage`: a ZODB storage whose data is at a server."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ZODB import event, interfaces
from ZODB.blob import is_blob_record
from ZODB.ConflictResolution import ConflictResolvingStorage, tryToResolveConflict
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError, Unsupported
from ZODB.utils import maxtid, z64
from zope.interface import alsoProvides, implementer

from zeotwisted.arguments import checked
from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.interfaces import StaleCache
from zeotwisted.protocol import EXTENDED, SERVER_CALLS
from zeotwisted.reactor import call_after_fork

from .arguments import CLIENT_STORAGE
from .blobs import client_blobs, open_blob
from .cache import ClientCache, open_cache, statistics_of
from .calls import ClientProtocol
from .commit import Committing
from .connection import (
    Link,
    Target,
    Wanted,
    client_security,
    credentials_from,
    parse_address,
)
from .figures import ClientFigures
from .history import (
    Entry,
    copy_transactions,
    entries,
    history,
    read_log,
    transactions,
    undo_log,
    warn_of_missing_blob,
)
from .records import Coherence, Reader, Revisions, StorageInfo
from .upstream import Upstream
from .warmstart import WarmStart, offers

__all__ = ["ClientStorage"]

_log = logging.getLogger("zeotwisted.client")

MB = 1024 * 1024

_NOT_YET = {
    "_client_factory": "another implementation of the connection",
}


@implementer(interfaces.IMultiCommitStorage, interfaces.IPrefetchStorage)
class ClientStorage(ConflictResolvingStorage):
    """A storage that is a network client of a zeotwisted or ZEO server.

    Any number of threads may use it. There is one transaction at a time, from ``tpc_begin`` to its
    end. Methods that need the server wait up to `wait_timeout` seconds for a connection, then raise
    `ClientDisconnected`. A call that waits for its answer when the connection is lost raises
    `ClientDisconnected` at once.

    The arguments up to `realm` are those of ``ZEO.ClientStorage.ClientStorage``.

    :param addr: the server: a port on this machine, a ``(host, port)`` pair, or the path of a Unix
        socket; or a list of these, for servers that have the same data. The client tries all of
        them at once and uses the first one that fits.
    :param storage: the storage's name at the server.
    :param cache_size: how many bytes of records to keep, overhead included; a file has at least
        64 KB.
    :param cache: the path of a file for the records, which survive a restart there; or an object
        with the interface of ZEO's client caches. By default, the records are in memory.
    :param client: without `cache`, keep the records in the file ``<client>-<storage>.zec``.
    :param var: the folder of that file; the current one by default.
    :param name: the name of this storage for `getName` and log lines; by default its address.
    :param wait_timeout: in seconds, 30 by default.
    :param read_only: refuse to write, and accept a server that allows reading only.
    :param read_only_fallback: accept a server that allows reading only while there is no other;
        change to one that allows writing as soon as there is one.
    :param blob_dir: a directory for blobs. Other clients on this machine may share it, also ZEO's.
        Without it, the client has no blobs.
    :param shared_blob_dir: `blob_dir` is the server's blob directory, as this machine sees it.
    :param blob_cache_size: how large `blob_dir` may become, in bytes; any size by default.
    :param blob_cache_size_check: how much of `blob_cache_size` may be added, in percent, before the
        files that have not been used for the longest time are removed.
    :param client_label: the name of this client in the server's log lines.
    :param ssl: use TLS: an `ssl.SSLContext`, a function without arguments that returns one for each
        connection, what `twisted.internet.ssl.optionsForClientTLS` returns, or a
        `twisted.internet.ssl.CertificateOptions`.
    :param ssl_server_hostname: the host name in the server's certificate, if it is not that of
        `addr`. It cannot be given with ``optionsForClientTLS``, which contains the name.
    :param wait: wait for the connection before returning.
    :param server_sync: `sync`, which begins each transaction, makes a round trip. The transaction
        then sees everything that was committed before.
    :param username: the name of this client's account, if the server has accounts.
    :param password: its password. It does not cross the wire.
    :param realm: refuse a server whose accounts have another realm.
    :param reactor: a Twisted application's reactor to use instead of a private one.
    :param liveness_timeout: how long (seconds) the server may leave a ping without an answer; then
        the connection is closed. A call that waits notices within half of that time, or within
        five sixths with ZEO's servers, which are silent while they vote and finish.
        0 or None: for ever.
    :param refuse_older_server: refuse a server whose last transaction is older than the last one
        that this client has seen, for example after a backup was restored. By default, the client
        drops its cache and uses the server.
    :param read_ahead: ``"auto"``: let the answer to a load bring records that will probably be used
        next, as far as that saves round trips. True: while the application follows the references
        of a record in their order, load some of the next records together with the requested one.
        False: load one record at a time. Both need a zeotwisted server.
    :param password_file: the path of a file whose first line is the password. Without it and
        `password`, the environment variable ``ZEO_PASSWORD`` has the password.
    :param commit_lock_timeout: how long (seconds) a transaction may wait for its turn to commit,
        while other clients commit. After that, `tpc_vote` raises `TransactionTimeout`, which names
        the client that blocks it. None: for ever. It needs a zeotwisted server.
    :param warm_start: begin an empty cache with what other clients use most, as far as there is
        room, behind the application's own loads. True: those with the same `client_label`, or
        those without one. A text: those that give the same text, or have it for their label.
        False: begin with nothing. It needs a zeotwisted server.
    :raises AccessDenied: the server does not admit this client, or the password is wrong.
    :raises ClientDisconnected: no server, or none that accepts this client, within `wait_timeout`.
    :raises ProtocolError: the peer is not a ZEO server.
    :raises ValueError: an argument cannot work, or `blob_dir` cannot be used. The message says what
        to write instead.
    :raises zeotwisted.clientstorage.cache.CacheFileError: the cache file is in use, or cannot be
        used.
    :raises NotImplementedError: this version does not support an argument.

    `disconnect_poll`, `min_disconnect_poll`, `max_disconnect_poll`, `drop_cache_rather_verify` and
    `credentials` have no effect; they are accepted because existing configurations contain them.
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
        username: str | None = None,
        password: str | None = None,
        realm: str | None = None,
        _client_factory: Any = None,
        reactor: Any = None,
        liveness_timeout: float | None = 60.0,
        refuse_older_server: bool = False,
        read_ahead: bool | str = "auto",
        password_file: str | None = None,
        commit_lock_timeout: float | None = None,
        warm_start: bool | str = True,
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
            credentials_from(username, password, valid.password_file, valid.realm),
            offers(valid.warm_start),
        )
        self.__name__ = name or str(("127.0.0.1", addr) if isinstance(addr, int) else addr)
        self._cache_size = valid.cache_size
        self._wait_timeout = 30.0 if wait_timeout is None else valid.wait_timeout
        self._client_label = client_label
        self._server_sync = valid.server_sync
        self._commit_lock_timeout = valid.commit_lock_timeout
        self._reads_ahead = valid.read_ahead
        self._own_reactor = reactor
        self._db: Any = None
        #: Encoding and version of the protocol of the connection, for example ``b"M6"``.
        self.protocol_version = b""
        self._blobs = client_blobs(
            valid.blob_dir, valid.shared_blob_dir, valid.blob_cache_size, blob_cache_size_check
        )
        self.blob_dir = valid.blob_dir
        self.shared_blob_dir = valid.shared_blob_dir
        #: ZODB's view of the folder; None without `blob_dir`.
        self.fshelper = self._blobs.fshelper
        if blob_dir is not None:
            alsoProvides(self, interfaces.IBlobStorage)
        self._cache = open_cache(valid.cache, client, var, storage, valid.cache_size)
        self._info = StorageInfo(lambda: self._coherence.last_transaction())
        self._start_parts(target, self._cache.getLastTid() == z64)
        self._blobs.start()
        call_after_fork(self)
        self._link.begin()
        if valid.wait:
            try:
                self._link.wait_for_first()
            except BaseException:
                # The caller gets no storage that it could close.
                self.close()
                raise

    def _start_parts(self, target: Target, is_cold: bool) -> None:
        """Create the parts that a child process must not share with its parent.

        :param is_cold: whether the cache is a new one.
        """
        self._figures = ClientFigures()
        self._coherence = Coherence(
            self._cache, self.invalidateTransaction, self.invalidateCache, self._notify_stale
        )
        self._link = Link(
            target, self._wait_timeout, self._own_reactor, self._coherence, self, self.__name__
        )
        self._reader = Reader(
            self._coherence,
            self._cache,
            self._link.protocol,
            lambda: self._link.ready is not None,
            self._reads_ahead,
            self._cache_size,
        )
        #: The records that came ahead of need and were not used yet.
        self._unused = self._reader.unused
        self._warm_start = WarmStart(
            self._coherence,
            is_cold,
            target.offers,
            self._client_label,
            self._cache_size,
            self.__name__,
        )
        self._committing = Committing(
            self._link,
            self._coherence,
            self._info,
            self._blobs,
            self._cache_size,
            self._commit_lock_timeout,
            self.__name__,
        )
        #: For a server whose storage is this client.
        self.upstream = Upstream(self._link, self._coherence, self._reader, self._committing)

    def forked(self) -> None:
        """After fork: connect again at the next call that needs the server.

        The open transaction and the cache file belong to the parent.
        """
        last_tid = self._cache.getLastTid()
        if hasattr(self._cache, "abandon"):
            _log.info("%s: after a fork, records are cached in memory", self.__name__)
            self._cache.abandon()
        self._cache = ClientCache(self._cache_size)
        inherited = self._link
        inherited.abandon()
        self._blobs.forked()
        self._start_parts(inherited.target, is_cold=True)
        self._cache.setLastTid(last_tid)
        if self._own_reactor is not None:
            _log.error("%s: its reactor belongs to the parent process", self.__name__)
            self._link.begin_closing()

    def close(self) -> None:
        """Close the connection. Calls that wait for the server raise `ClientDisconnected`."""
        if not self._link.begin_closing():
            return
        self._committing.close()
        try:
            self._link.let_go()
        finally:
            self._cache.close()
            self._blobs.close()

    # The connection.

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

        :param conn: the connection. Blocking calls would deadlock here.
        :param info: what the server says about the storage.
        """
        self._figures.connections += 1
        self.protocol_version = conn.version
        self._info.connected(conn, info, self._link.target.storage_id)
        alsoProvides(self, *self._info.provided(with_blobs=self.blob_dir is not None))
        if self._client_label:
            conn.oneway("set_client_label", self._client_label)
        self._warm_start.connected(conn, self._link.thread.reactor)
        _log.info(
            "%s: connected to %s as %s", self.__name__, self._info.server, conn.version.decode()
        )
        self.upstream.found()

    def notify_disconnected(self) -> None:
        """Called in the reactor's thread when the connection is lost."""
        self._figures.disconnections += 1
        self.upstream.lost()
        # The next server may have been restarted, and may give the same oids to other clients.
        self._committing.oids.clear()

    def info(self, dict: dict[str, Any]) -> None:
        """Called in the reactor's thread when the server sends new facts about the storage."""
        self._info.update(dict)

    def receive_blob(self, name: str, args: tuple[Any, ...]) -> None:
        """Called in the reactor's thread with a part of a blob."""
        self._blobs.receive(name, args)

    def ping(self) -> None:
        """Make a round trip to the server."""
        self._link.call("ping")

    def sync(self, force: bool = True) -> None:
        """Wait for outstanding invalidations, if the storage was made with `server_sync`."""
        if self._server_sync:
            self.ping()

    def server_status(self, timeout: float | None = None) -> dict[str, Any]:
        """Return the server's counters for this storage."""
        return self._link.call("server_status", timeout=timeout)

    def server_limits(self, timeout: float | None = None) -> dict[str, dict[str, int]]:
        """Return the server's limits, by their keys in its configuration.

        Each has ``used``, ``most``, ``peak`` and ``struck``: how often it was reached since the
        server started. Empty for a server of ZEO, which has no limits.
        """
        return self._link.call_extended("server_limits", {}, timeout)

    def steer(self, name: str, *args: Any) -> Any:
        """Make one of the calls by which operators look at a server and steer it.

        ``docs/reference/protocol.rst`` describes them under "Operators".

        :raises AccessDenied: this client does not have the role for it.
        :raises ValueError: there is no such call.
        :raises ZODB.POSException.Unsupported: the server is one of ZEO's, or too old.
        """
        if name not in SERVER_CALLS or not SERVER_CALLS[name].steers:
            raise ValueError(f"{name!r} is not a call for operators")
        return self._link.steer(name, *args)

    # The database above.

    def registerDB(self, db: Any) -> None:
        """Register the database that receives invalidations."""
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
            # Looked up at each call: applications replace this function of ZODB's.
            event.notify(StaleCache(self))
        except Exception:
            # A subscriber's error must not end the connection.
            _log.exception("%s: a subscriber of StaleCache failed", self.__name__)

    def cache_statistics(self) -> dict[str, int]:
        """Return counters of the cache since it was opened, and of its content.

        The result is empty for a cache object of the application's that has no such counters.
        """
        return statistics_of(self._cache)

    def statistics(self) -> dict[str, int]:
        """Return what this storage has counted since it was opened.

        Among it are loads, stores, commits, aborts, conflicts, round trips, bytes, connections,
        what became of the cache at each connection (``verified_...``), and `cache_statistics`
        (``cache_...``). `zeotwisted.metrics` gives the same to Prometheus.
        """
        cache = self.cache_statistics()
        report = self._figures.report(self._link, self._reader.came_ahead, cache, self._cache_size)
        return report | self._warm_start.report()

    # The storage as a whole.

    def __len__(self) -> int:
        """Return how many objects there are, approximately."""
        return self._info.current("length", self._link.facts)

    def getName(self) -> str:
        """Return the name, and whether there is a connection."""
        return f"{self.__name__} ({'connected' if self.is_connected() else 'disconnected'})"

    def getSize(self) -> int:
        """Return the approximate size of the database, in bytes."""
        return self._info.current("size", self._link.facts)

    def supportsUndo(self) -> bool:
        """Return whether transactions can be undone."""
        return bool(self._info["supportsUndo"])

    def is_read_only(self) -> bool:
        """Return whether this client or the server refuses to write."""
        return self._link.is_read_only

    isReadOnly = is_read_only

    def sortKey(self) -> str:
        """Return the key by which `transaction` orders the commits of several storages.

        :raises ClientDisconnected: there was no connection yet.
        """
        if self._info.server is None:
            raise ClientDisconnected("not connected to a server yet")
        return f"{self._link.target.storage_id}:{self._info.server}"

    def lastTransaction(self) -> bytes:
        """Return the tid of the last transaction whose invalidations the database has received.

        :raises ClientDisconnected: there was no connection yet, and none within `wait_timeout`.
        """
        tid = self._coherence.last_transaction()
        if tid == z64 and self._info.server is None and self._link.may_wait:
            # With z64, the database would read a snapshot from before its root object existed.
            self._link.protocol()
            tid = self._coherence.last_transaction()
        return tid

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
        :param wait: return only when the pack has ended.
        :param days: to be subtracted from `t`.
        :raises ZODB.POSException.ReadOnlyError: this client, or the server, is read-only.
        :raises ZODB.POSException.StorageError: `t` is in the future.
        :raises AccessDenied: this client does not have the role pack at the server.
        """
        # A server of zeotwisted may let a client pack that has no right to write.
        if self.is_read_only() and self.protocol_version[1:] != EXTENDED:
            raise ReadOnlyError("this client is read-only; open it for writing to pack")
        self._link.call("pack", (time.time() if t is None else t) - days * 86400, bool(wait))

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
        if cached is not None:
            if oid in self._unused:
                self._reader.note_use(oid)
            return cached
        self._figures.loads += 1
        return self._reader.fetch(oid, tid)

    def prefetch(self, oids: Iterable[bytes], tid: bytes) -> None:
        """Request records for the cache; do not wait for them."""
        self._reader.prefetch(oids, tid)

    def loadSerial(self, oid: bytes, serial: bytes) -> bytes:
        """Return the data of the revision `serial`."""
        return self._link.call("loadSerial", oid, serial)

    def getTid(self, oid: bytes) -> bytes:
        """Return the tid of the current revision."""
        return self._link.call("getTid", oid)

    def history(self, oid: bytes, size: int = 1) -> Sequence[dict[str, Any]]:
        """Return descriptions of the last `size` revisions."""
        return history(*self._link.call_versioned("history", oid, size))

    def stored_history(self, oid: bytes, size: int) -> list[Entry]:
        """Return what `history` does, without unpickling extensions.

        A server whose storage is this client calls it.
        """
        result, extended = self._link.call_versioned("history", oid, size)
        return entries(result, "history", extended)

    def record_iternext(
        self, next: bytes | None = None
    ) -> tuple[bytes, bytes, bytes, bytes | None]:
        """Return oid, tid and data of a record, and the value of `next` for the following one."""
        return self._link.call("record_iternext", next)

    def new_oid(self) -> bytes:
        """Return an oid that was never used."""
        return self._committing.new_oid()

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
        """Store a new revision of a blob; the file `blobfilename` is moved or removed."""
        if version:
            raise Unsupported("versions are not supported")
        self._blobs.store(
            self._committing.transaction(txn), oid, _bytes(serial), data, blobfilename
        )
        self._figures.stores += 1

    def loadBlob(self, oid: bytes, serial: bytes) -> str:
        """Return the name of a file with the content of a blob; download it if necessary.

        :raises ZODB.POSException.POSKeyError: there is no such blob.
        :raises OSError: the file cannot be written.
        """
        return self._blobs.load(self._link.protocol, oid, serial)

    def openCommittedBlobFile(self, oid: bytes, serial: bytes, blob: Any = None) -> Any:
        """Return the content of a blob as a file that is open for reading. Raises as `loadBlob`.

        :param blob: is notified when the file is closed.
        """
        return open_blob(self._blobs, self._link.protocol, oid, serial, blob)

    def temporaryDirectory(self) -> str:
        """Return the folder in which an application may write blobs before they are stored."""
        return self._blobs.temporary_directory()

    # The log of transactions.

    def undoInfo(
        self, first: int = 0, last: int = -20, specification: dict[str, Any] | None = None
    ) -> Sequence[dict[str, Any]]:
        """Return descriptions of transactions that can be undone."""
        return undo_log(*self._link.call_versioned("undoInfo", first, last, specification))

    def stored_undo_log(
        self, first: int, last: int, specification: dict[str, Any] | None
    ) -> list[Entry]:
        """Return what `undoInfo` does, without unpickling extensions.

        A server whose storage is this client calls it.
        """
        result, extended = self._link.call_versioned("undoInfo", first, last, specification)
        return entries(result, "undoInfo", extended)

    def undoLog(
        self, first: int = 0, last: int = -20, filter: Any = None
    ) -> Sequence[dict[str, Any]]:
        """Return descriptions of transactions that can be undone.

        :param filter: cannot be sent to the server; the result is empty if there is one.
        """
        if filter is not None:
            return []
        return undo_log(*self._link.call_versioned("undoLog", first, last))

    def iterator(self, start: bytes | None = None, stop: bytes | None = None) -> Iterator[Any]:
        """Return an iterator over the transactions from tid `start` to tid `stop`."""
        return transactions(self._link, start, stop)

    def read_log(self, since: bytes, stop: bytes) -> Iterator[Any]:
        """Return an iterator over the transactions after `since` up to `stop`, as `iterator` does.

        It is faster with zeotwisted's servers, and the records of a transaction can be read only
        once, until the iterator moves on.

        :param since: a tid; eight zero bytes for the beginning.
        """
        return read_log(self._link, since, stop)

    def copyTransactionsFrom(self, other: Any, verbose: int = 0) -> None:
        """Copy all transactions of another storage, with their blobs.

        Blobs need a zeotwisted server whose storage keeps blobs. This client needs no `blob_dir`.

        :param verbose: print tids and oids.
        :raises ZODB.POSException.Unsupported: there are blobs, and the server cannot restore them,
            or `other` was opened without them. Transactions before that one are copied.
        """
        copy_transactions(other, self, self._committing.restore_blob, verbose)

    # A transaction.

    def tpc_begin(self, txn: Any, tid: bytes | None = None, status: str = " ") -> None:
        """Begin a transaction; wait until the current one has ended.

        :param tid: the tid of the transaction, when a database is copied.
        :raises ZODB.POSException.StorageTransactionError: this call would deadlock: the transaction
            has begun already, perhaps through another connection of the same database.
        """
        self._committing.begin(txn, tid, status)

    def tpc_transaction(self) -> Any:
        """Return the current transaction, or None."""
        return self._committing.current

    def store(
        self, oid: bytes, serial: bytes | str | None, data: bytes, version: str, txn: Any
    ) -> None:
        """Store a new revision of an object."""
        if version:
            raise Unsupported("versions are not supported")
        self._committing.transaction(txn).store(oid, _bytes(serial), data)
        self._figures.stores += 1

    def deleteObject(self, oid: bytes, serial: bytes, txn: Any) -> None:
        """Delete an object, which a garbage collector found to be unreachable."""
        self._committing.transaction(txn).delete(oid, serial)

    def checkCurrentSerialInTransaction(self, oid: bytes, serial: bytes, transaction: Any) -> None:
        """Make the vote fail if `serial` is not the current revision of the object."""
        self._committing.transaction(transaction).check_serial(oid, serial)

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
        self._committing.transaction(transaction).restore(oid, serial, data, prev_txn)

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

        The file `blobfilename` is removed.

        :raises ZODB.POSException.Unsupported: the server cannot restore blobs.
        """
        with open(blobfilename, "rb") as file:
            self._committing.restore_blob(transaction, oid, serial, data, prev_txn, file)
        os.remove(blobfilename)

    def undo(self, trans_id: bytes, txn: Any) -> None:
        """Undo an earlier transaction, as part of this one."""
        self._committing.transaction(txn).undo(trans_id)

    def tpc_vote(self, txn: Any) -> list[bytes] | None:
        """Vote; return the oids of objects whose conflicts were resolved.

        :raises ZODB.POSException.ConflictError: a conflict cannot be resolved.
        :raises ZODB.POSException.StorageTransactionError: this call would deadlock: the same
            transaction has voted through another client of the same storage.
        """
        try:
            return self._committing.vote(txn, self.tryToResolveConflict)
        except ConflictError:
            self._figures.conflicts += 1
            raise

    def tryToResolveConflict(
        self,
        oid: bytes,
        committedSerial: bytes,
        oldSerial: bytes,
        newpickle: bytes,
        committedData: bytes = b"",
    ) -> bytes:
        """Return a record that merges two changes of an object.

        :raises ZODB.POSException.ConflictError: they cannot be merged.
        """
        revisions = Revisions(self, self._coherence.load_before)
        resolved: bytes = tryToResolveConflict(
            revisions, oid, committedSerial, oldSerial, newpickle, committedData
        )
        return resolved

    def tpc_finish(self, txn: Any, f: Callable[[bytes], Any] = lambda tid: None) -> bytes:
        """Commit; return the tid.

        If the connection is lost meanwhile, this waits up to `wait_timeout` for a server that knows
        whether the transaction is committed.

        :param f: called with the tid before any later transaction is visible.
        :raises ClientDisconnected: the connection is lost, and the transaction is not committed.
        :raises CommitInDoubt: the connection is lost, or the server failed, and no server can say
            whether the transaction is committed.
        :raises Exception: the server failed, and the transaction is not committed.
        """
        tid = self._committing.finish(txn, f)
        self._figures.commits += 1
        return tid

    def tpc_abort(self, txn: Any, timeout: float | None = None) -> None:
        """Abort the transaction. Do nothing if it is not the current one."""
        self._figures.aborts += self._committing.current is txn
        self._committing.abort(txn)


def _bytes(serial: bytes | str | None) -> bytes | None:
    """Return a serial as bytes; None if it is a text that is no tid.

    Old code passes texts for new objects.
    """
    if type(serial) is not str:
        return serial  # type: ignore[return-value]
    return serial.encode("ascii") if len(serial) == 8 and serial.isascii() else None
