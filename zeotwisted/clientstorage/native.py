"""`StorageClient`: a client for code in a reactor. It returns Deferreds and never blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from twisted.internet.defer import Deferred, FirstError, fail, gatherResults, succeed
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, z64

from zeotwisted.arguments import checked
from zeotwisted.exceptions import ClientStorageError
from zeotwisted.protocol import SERVER_CALLS
from zeotwisted.reactor import OwnReactor

from .arguments import STORAGE_CLIENT
from .blobs import BlobFiles
from .cache import open_cache
from .calls import ClientProtocol
from .connection import ClientConnection, Target, Wanted, client_security, credentials_from
from .feed import Changes, Check, no_check, nothing_unknown, packed_only
from .history import READERS
from .records import Coherence, load

__all__ = ["Listener", "Revision", "StorageClient"]

#: Data, tid, and the tid of the next revision; None if this is the current one.
Revision = tuple[bytes, bytes, "bytes | None"]

#: The calls that `StorageClient.call` refuses: they belong to the connection, change the storage,
#: or would bypass the cache.
_NOT_FOR_CALL = (
    {"changes_next", "changes_start", "loadBefore", "loadManyBefore", "sendBlob"}
    | {"tpc_outcome"}
    | {
        name
        for name, call in SERVER_CALLS.items()
        if call.opening or (call.writes and not name.startswith("new_oid"))
    }
)

#: How long (seconds) a feed of changes waits for a connection: until the client is closed.
_FOR_EVER = 1e9

#: How many records `StorageClient.prefetch` asks for at a time.
_PREFETCHED = 200


class Listener(Protocol):
    """Receives invalidations; `ZODB.DB` has the same methods."""

    def invalidate(self, tid: bytes, oids: Sequence[bytes]) -> object:
        """The transaction `tid`, or it and earlier ones, changed `oids`."""

    def invalidateCache(self) -> object:
        """Anything may have changed."""


class StorageClient:
    """A client of one storage of a zeotwisted or ZEO server.

    Like `ClientStorage`, it reconnects, brings its cache up to date, and applies invalidations in
    the order of the commits. Use it in the reactor's thread only. Calls wait up to `wait_timeout`
    for a connection. If the connection is lost, the calls that were sent fail with
    `ClientDisconnected`.

    Records are bytes. For objects, use `ClientStorage` in threads.

    :param reactor: the application's reactor.
    :param addr: the servers, see `ClientStorage`.
    :param storage: the storage's name at the server.
    :param cache: the path of a file, or an object with the interface of
        `zeotwisted.clientstorage.cache.memory.ClientCache`; by default, records are in memory.
    :param cache_size: in bytes.
    :param stale: called when the whole cache was dropped.
    :param read_only: accept a server that allows reading only.
    :param read_only_fallback: use a server that allows reading only while there is no other.
    :param wait_timeout: in seconds.
    :param liveness_timeout: the longest silence of a server, in seconds; 0 for any.
    :param refuse_older_server, ssl, ssl_server_hostname: see `ClientStorage`.
    :param username, password, password_file, realm: see `ClientStorage`.
    :param name: the name of this client in log lines; by default its address.
    :param client_label: the name of this client in the server's log lines.
    :raises ValueError: an argument cannot work; the message says what to write instead.
    """

    def __init__(
        self,
        reactor: Any,
        addr: Any,
        storage: str = "1",
        *,
        cache: Any = None,
        cache_size: int = 20 * 1024 * 1024,
        stale: Callable[[], Any] = lambda: None,
        read_only: bool = False,
        read_only_fallback: bool = False,
        wait_timeout: float = 30.0,
        liveness_timeout: float | None = 60.0,
        refuse_older_server: bool = False,
        ssl: Any = None,
        ssl_server_hostname: str | None = None,
        name: str = "",
        username: str | None = None,
        password: str | None = None,
        password_file: str | None = None,
        realm: str | None = None,
        client_label: str | None = None,
    ) -> None:
        valid = checked(STORAGE_CLIENT, locals())
        wanted = Wanted.EITHER if valid.read_only_fallback else Wanted.WRITABLE
        target = Target(
            tuple(valid.addr),
            storage,
            Wanted.READ_ONLY if valid.read_only else wanted,
            valid.refuse_older_server,
            valid.liveness_timeout,
            client_security(ssl, valid.ssl_server_hostname),
            credentials_from(username, password, valid.password_file, valid.realm),
        )
        #: What the server says about the storage. It is updated when the client connects, after
        #: its commits, and after a pack. ``call("get_info")`` returns current values.
        self.storage_info: dict[str, Any] = {}
        self._reactor = reactor
        self._blobs = BlobFiles()
        self._wait_timeout = valid.wait_timeout
        self._client_label = valid.client_label
        self._listeners: list[Listener] = []
        self._cache = open_cache(valid.cache, None, None, storage, valid.cache_size)
        self._coherence = Coherence(self._cache, self._invalidate, self._invalidate_all, stale)
        self._connection = ClientConnection(
            OwnReactor(reactor),
            target,
            self._coherence,
            self,
            name or str(addr),
        )

    # The connection.

    def connect(self) -> Deferred[None]:
        """Begin to connect; return a Deferred that fires when there is a connection.

        It fails with `ClientDisconnected` if there is none within `wait_timeout`, or if the servers
        refuse this client. It fails with `ProtocolError` if the peer is not a ZEO server. The
        client tries again until `close` is called.
        """
        self.start()
        self._connection.announce(self._wait_timeout)
        return self._connection.when_ready(self._wait_timeout, fail_fast=True).addCallback(_nothing)

    def start(self) -> None:
        """Begin to connect, and do not wait for it."""
        self._connection.start()

    def is_connected(self) -> bool:
        """Return whether there is a connection."""
        return self._connection.ready is not None

    def is_read_only(self) -> bool:
        """Return whether there is a connection and it allows reading only."""
        ready = self._connection.ready
        return ready is not None and ready.read_only

    def close(self) -> None:
        """Close the connection; calls that wait for the server fail with `ClientDisconnected`."""
        self._connection.close()
        self._cache.close()

    def call(self, name: str, *args: Any) -> Deferred[Any]:
        """Make a call that does not change the storage; return a Deferred of the answer.

        ``docs/reference/protocol.rst`` has the calls. The Deferred fails with the exception that
        the server raised.

        :raises ValueError: there is no such call, or it must not be made in this way.
        """
        if name not in SERVER_CALLS or name in _NOT_FOR_CALL:
            raise ValueError(f"{name!r} is not a call to be made in this way")
        if not SERVER_CALLS[name].oneway:
            return self._with_connection(lambda protocol: _request(protocol, name, args))

        def tell(protocol: ClientProtocol) -> Deferred[None]:
            protocol.oneway(name, *args)
            return succeed(None)

        return self._with_connection(tell)

    def _with_connection(self, use: Callable[[ClientProtocol], Deferred[Any]]) -> Deferred[Any]:
        ready = self._connection.ready
        if ready is None:
            return self._connection.when_ready(self._wait_timeout).addCallback(use)
        try:
            return use(ready)
        except ClientStorageError:
            return fail()

    # Records.

    def lastTransaction(self) -> bytes:
        """Return the tid of the last transaction that the listeners were notified of."""
        return self._coherence.last_transaction()

    def load(self, oid: bytes) -> Deferred[tuple[bytes, bytes]]:
        """Return a Deferred of the data and tid of the current revision.

        It fails with `ZODB.POSException.POSKeyError` if there is none.
        """

        def found(revision: Revision | None) -> tuple[bytes, bytes]:
            if revision is None:
                raise POSKeyError(oid)
            return revision[:2]

        return self.loadBefore(oid, maxtid).addCallback(found)

    def loadBefore(self, oid: bytes, tid: bytes) -> Deferred[Revision | None]:
        """Return a Deferred of the last revision before `tid`, or of None.

        It fails with `ZODB.POSException.POSKeyError` if the object does not exist.
        """
        cached = self._coherence.load_before(oid, tid)
        if cached is not None:
            return succeed(cached)

        def ask(protocol: ClientProtocol) -> Deferred[Any]:
            answer = load(self._coherence, oid)
            protocol.call(answer, "loadBefore", oid, tid)
            return answer

        return self._with_connection(ask)

    def prefetch(self, oids: Iterable[bytes], tid: bytes = maxtid) -> Deferred[None]:
        """Load records into the cache; return a Deferred that fires when they are there.

        Objects that do not exist are skipped.

        :param oids: is consumed while the records arrive.
        """
        return Deferred.fromCoroutine(self._prefetch(iter(oids), tid))

    async def _prefetch(self, oids: Iterator[bytes], tid: bytes) -> None:
        while some := list(islice(oids, _PREFETCHED)):
            loads = [self._load_if_there(oid, tid) for oid in some]
            try:
                await gatherResults(loads, consumeErrors=True)
            except FirstError as error:
                error.subFailure.raiseException()

    def _load_if_there(self, oid: bytes, tid: bytes) -> Deferred[Any]:
        return self.loadBefore(oid, tid).addErrback(lambda failure: failure.trap(POSKeyError))

    def loadBlob(self, oid: bytes, tid: bytes, path: str) -> Deferred[str]:
        """Download a blob into a new file; return a Deferred of `path`.

        It fails with `ZODB.POSException.POSKeyError` if the server has no such blob, and with
        OSError if the file cannot be written, or is there already.

        :param tid: that of the record.
        """
        return self._with_connection(lambda protocol: self._blobs.fetch(protocol, oid, tid, path))

    # Changes.

    def changes(
        self,
        since: bytes = z64,
        records: bool = False,
        *,
        once: bool = False,
        accept_gaps: bool = False,
        check: Check = no_check,
    ) -> Changes:
        """Return every transaction after `since`, once, in order: an asynchronous iterator.

        At the end it waits for more, until `close` of it or of the client is called. If the
        connection is lost, it goes on with the next one. It reads a transaction when that is asked
        for, and keeps about a megabyte in memory. Iterate with ``async for``, or call its `next`,
        which returns a Deferred.

        Iterating raises `NotInHistory` if `since` is not in the storage.

        :param since: a tid; eight zero bytes for the beginning.
        :param records: get the data of the objects, too.
        :param once: end at the last transaction instead of waiting for more.
        :param accept_gaps: go on if a pack has removed the transaction at the position. Records, or
            whole transactions, may be missing then. Transactions that a pack has kept have
            `is_packed`.
        :param check: a coroutine function that is called with each new connection, before it is
            used. What it raises, the feed raises.
        """
        accept = packed_only if accept_gaps else nothing_unknown
        return Changes(self, since, records, once, accept, check)

    # Invalidations.

    def addListener(self, listener: Listener) -> None:
        """Notify `listener` of every change from now on.

        It is called before `lastTransaction` returns the transaction. If it raises an exception,
        the connection is closed, and the next connection replays the missed invalidations to all
        listeners.
        """
        self._listeners.append(listener)

    def removeListener(self, listener: Listener) -> None:
        """Do not notify `listener` any more."""
        self._listeners.remove(listener)

    def _invalidate(self, tid: bytes, oids: Sequence[bytes]) -> None:
        if not oids:
            # The first connection brings the last transaction, but no changed objects.
            return
        for listener in list(self._listeners):
            listener.invalidate(tid, oids)

    def _invalidate_all(self) -> None:
        for listener in list(self._listeners):
            listener.invalidateCache()

    # For `ClientConnection`.

    def notify_connected(self, conn: ClientProtocol, info: dict[str, Any]) -> None:
        """See `connection.ConnectionOwner`."""
        self.info(info)
        if self._client_label:
            conn.oneway("set_client_label", self._client_label)

    def notify_disconnected(self) -> None:
        """See `connection.ConnectionOwner`."""

    def info(self, dict: dict[str, Any]) -> None:
        """See `connection.ConnectionOwner`."""
        self.storage_info.update(dict)

    def receive_blob(self, name: str, args: tuple[Any, ...]) -> None:
        """See `connection.ConnectionOwner`."""
        self._blobs.receive(name, *args)

    # For `feed.Changes`.

    def connected(self) -> Deferred[ClientProtocol]:
        """See `feed.Source`."""
        ready = self._connection.ready
        return succeed(ready) if ready else self._connection.when_ready(_FOR_EVER)

    def last_transaction(self) -> bytes:
        """See `feed.Source`."""
        return self._coherence.last_transaction()

    def call_later(self, call: Callable[[], object]) -> object:
        """See `feed.Source`."""
        return self._reactor.callLater(0, call)


def _request(protocol: ClientProtocol, name: str, args: tuple[Any, ...]) -> Deferred[Any]:
    answer = protocol.request(name, *args)
    reader = READERS.get(name)
    if reader is not None:
        answer.addCallback(reader, protocol.is_extended)
    return answer


def _nothing(result: object) -> None:
    return None
