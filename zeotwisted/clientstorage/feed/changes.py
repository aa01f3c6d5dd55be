"""The feed of changes: it keeps its position across connections, and waits at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from ZODB.POSException import StorageError

from zeotwisted.exceptions import ClientDisconnected, NotInHistory

from ..calls import ClientProtocol
from .reading import read_log
from .transactions import ChangedTransaction

__all__ = ["Changes", "Source"]


class Source(Protocol):
    """What the feed needs of a client."""

    def connected(self) -> Deferred[ClientProtocol]:
        """Return a Deferred of the connection, as soon as there is one.

        It fails with `ClientDisconnected` if there will be none.
        """

    def last_transaction(self) -> bytes:
        """Return the last transaction that the server has told."""

    def call_later(self, call: Callable[[], object]) -> object:
        """Call in a later turn of the reactor."""

    def addListener(self, listener: Any) -> None:
        """See `StorageClient.addListener`."""

    def removeListener(self, listener: Any) -> None:
        """See `StorageClient.removeListener`."""


#: Called with each new connection before it is used; what it raises, the feed raises.
Check = Callable[[ClientProtocol], Awaitable[None]]


async def _no_check(protocol: ClientProtocol) -> None:
    """Accept every connection."""


class Changes:
    """Yields every transaction after a certain one, once, in order; at the end it waits for more.

    Iterate with ``async for``, or call `next`. The next transaction is read when it is asked for,
    so a slow reader takes little memory, and no time of the server's. If the connection is lost,
    the feed goes on with the next connection. Use it in the reactor's thread only.

    :param since: the tid after which to begin; eight zero bytes for the beginning.
    :param records: get the records, too.
    :param once: end at the last transaction instead of waiting for more.
    :param accept_gaps: go on if a pack has removed the transaction at the position.
    :param check: see `Check`.
    :ivar position: the tid of the last transaction that was handed out. A later feed can begin
        there.
    :raises NotInHistory: `next` raises it if the transaction at the position is not in the storage.
    :raises ClientDisconnected: `next` raises it if the client is closed.
    """

    def __init__(
        self,
        source: Source,
        since: bytes,
        records: bool = False,
        once: bool = False,
        accept_gaps: bool = False,
        check: Check = _no_check,
    ) -> None:
        self.position = since
        self._source = source
        self._records = records
        self._once = once
        self._accept_gaps = accept_gaps
        self._check = check
        self._protocol: ClientProtocol | None = None
        # Up to where the log was read on this connection.
        self._reached = b""
        self._reading: AsyncIterator[ChangedTransaction] | None = None
        self._news: Deferred[None] | None = None
        self._is_busy = False
        self._closed = False
        # The position at which reading has failed.
        self._failed_at: bytes | None = None
        source.addListener(self)

    # The listener. It is called before the source knows of the transaction.

    def invalidate(self, tid: bytes, oids: Sequence[bytes]) -> None:
        """There is a new transaction."""
        self._source.call_later(self._wake)

    def invalidateCache(self) -> None:
        """There may be new transactions."""
        self._source.call_later(self._wake)

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            news.callback(None)

    # The iterator.

    def __aiter__(self) -> Changes:
        return self

    def __anext__(self) -> Deferred[ChangedTransaction]:
        return Deferred.fromCoroutine(self._next())

    def next(self) -> Deferred[ChangedTransaction | None]:
        """Return a Deferred of the next transaction.

        It is None at the end, which comes only if the feed is closed or was made with `once`.
        """

        async def next_one() -> ChangedTransaction | None:
            try:
                return await self._next()
            except StopAsyncIteration:
                return None

        return Deferred.fromCoroutine(next_one())

    def close(self) -> None:
        """End the feed. A call that waits gets no transaction any more."""
        if self._closed:
            return
        self._closed = True
        self._source.removeListener(self)
        if not self._is_busy:
            self._drop_reading()
        self._wake()

    async def _next(self) -> ChangedTransaction:
        if self._is_busy:
            raise RuntimeError("ask for a transaction after the one before has arrived")
        self._is_busy = True
        try:
            while not self._closed:
                transaction = await self._attempt()
                if transaction is not None:
                    self.position = transaction.tid
                    self._failed_at = None
                    return transaction
                if self._once and self._reading is None and self._reached:
                    break
        except BaseException:
            self._drop_reading()
            raise
        finally:
            self._is_busy = False
        self._drop_reading()
        raise StopAsyncIteration

    async def _attempt(self) -> ChangedTransaction | None:
        """Return the next transaction; None if there was none this time."""
        try:
            if self._reading is None and not await self._begin():
                return None
            assert self._reading is not None
            return await anext(self._reading)
        except StopAsyncIteration:
            self._reading = None
            self._reached = self._stop
        except NotInHistory:
            raise
        except ClientDisconnected:
            if self._protocol is None or self._protocol.is_open:
                raise
            self._lost()
        except StorageError:
            # A pack may have removed what was being read.
            if self._failed_at == self.position:
                raise
            self._failed_at = self.position
            self._lost()
        return None

    async def _begin(self) -> bool:
        """Begin to read what is new; return whether there is something."""
        protocol = await self._source.connected()
        if protocol is not self._protocol:
            self._lost()
            self._protocol = protocol
            protocol.lost.addBoth(self._disconnected)
            await self._check(protocol)
        self._stop = self._source.last_transaction()
        if self._stop < self.position:
            raise NotInHistory(self.position, False, self._stop)
        if self._stop == self._reached:
            if not self._once:
                await self._wait()
            return False
        self._reading = read_log(
            protocol, self.position, self._stop, self._records, self._accept_gaps
        )
        return True

    def _wait(self) -> Deferred[None]:
        if self._closed:
            return succeed(None)
        self._news = Deferred()
        return self._news

    def _disconnected(self, reason: Any) -> Any:
        self._source.call_later(self._wake)
        return reason

    def _lost(self) -> None:
        """Begin again with the next connection, after the last complete transaction."""
        self._reading = None
        self._protocol = None
        self._reached = b""

    def _drop_reading(self) -> None:
        reading, self._reading = self._reading, None
        if reading is not None:
            closing: Any = reading
            Deferred.fromCoroutine(_close(closing))


async def _close(reading: Any) -> None:
    await reading.aclose()
