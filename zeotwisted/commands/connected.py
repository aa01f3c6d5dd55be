"""A client of a server for commands: the main thread waits, and a reactor works in another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zeotwisted.clientstorage import Changes, StorageClient

__all__ = ["Connected", "connected"]


class Connected:
    """A `StorageClient`, for the main thread."""

    def __init__(self, reactor: Any, client: StorageClient) -> None:
        self._reactor = reactor
        self._client = client

    def wait(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the reactor's thread; wait for its result. Ctrl-C ends the wait."""
        return _wait(self._reactor, function, *args)

    def call(self, name: str, *args: Any) -> Any:
        """Call the server; return the answer."""
        return self.wait(self._client.call, name, *args)

    def changes(self, *args: Any, **options: Any) -> Changes:
        """See `StorageClient.changes`."""
        feed: Changes = self.wait(lambda: self._client.changes(*args, **options))
        return feed


@contextmanager
def connected(address: Any, **options: Any) -> Iterator[Connected]:
    """Connect to a server; disconnect at the end.

    :param options: of `StorageClient`.
    :raises ZODB.POSException.StorageError: there is no connection.
    """
    # Imported late: other commands need no Twisted.
    from zeotwisted.clientstorage import StorageClient
    from zeotwisted.reactor import release, shared

    thread = shared()
    try:
        client = _wait(thread.reactor, lambda: StorageClient(thread.reactor, address, **options))
        try:
            _wait(thread.reactor, client.connect)
            yield Connected(thread.reactor, client)
        finally:
            _wait(thread.reactor, client.close)
    finally:
        release(thread)


def _wait(reactor: Any, function: Callable[..., Any], *args: Any) -> Any:
    from twisted.internet.defer import Deferred

    done: Future[Any] = Future()

    async def result() -> Any:
        made = function(*args)
        return await made if isinstance(made, Deferred) else made

    def call() -> None:
        called = Deferred.fromCoroutine(result())
        called.addCallbacks(done.set_result, lambda failure: done.set_exception(failure.value))

    reactor.callFromThread(call)
    return done.result()
