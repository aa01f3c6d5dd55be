"""A server in a thread of the test's process, so that a test sees it from inside."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.threads import blockingCallFromThread

from zeotwisted.access import Access
from zeotwisted.reactor.thread import ReactorThread
from zeotwisted.storageserver import ServerOptions, StorageServer


class Served:
    """A server that runs.

    :ivar address: where clients connect.
    """

    def __init__(self, reactor: Any, server: StorageServer) -> None:
        self.reactor = reactor
        self.server = server
        (where,) = self.ask(server.addresses)
        self.address = (where.host, where.port)

    def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the reactor's thread; return its result."""
        return blockingCallFromThread(self.reactor, function, *args)


@contextmanager
def serving(
    storages: Mapping[str, Any],
    options: ServerOptions | None = None,
    access: Access | None = None,
) -> Iterator[Served]:
    """Serve storages at a port of the system's."""
    thread = ReactorThread("test")
    thread.start()
    reactor = thread.reactor
    server = StorageServer(reactor, storages, options, access)
    server.listen(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), "a port")
    try:
        blockingCallFromThread(reactor, server.startService)
        try:
            yield Served(reactor, server)
        finally:
            blockingCallFromThread(reactor, server.stopService)
    finally:
        thread.stop()
