"""A client of a server for commands: the main thread waits, and a reactor works in another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .connecting import client_options, knock, quietly
from .target import Target

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
def connected(target: Target) -> Iterator[Connected]:
    """Connect to a server, to read; disconnect at the end.

    What the client logs later, such as a connection that is lost and made again, is shown.

    :raises CommandError: nobody listens there.
    :raises ZODB.POSException.StorageError: there is no connection.
    """
    # Imported late: other commands need no Twisted.
    from zeotwisted.clientstorage import StorageClient
    from zeotwisted.reactor import release, shared

    knock(target)
    options = client_options(target) | {"storage": target.storage, "read_only": True}
    thread = shared()
    try:
        client = _wait(
            thread.reactor, lambda: StorageClient(thread.reactor, target.address, **options)
        )
        try:
            with quietly():
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
