"""Events, which an application can subscribe to with ``zope.event.subscribers``."""

from __future__ import annotations

from typing import Any

__all__ = ["Closed", "Serving", "StaleCache"]


class StaleCache:
    """A client's cache was dropped, because it may contain outdated objects.

    The event is sent by ``ZODB.event.notify`` in the reactor's thread. A subscriber must not call
    methods of the storage that wait for the server.

    :ivar storage: the `ClientStorage`.
    """

    def __init__(self, storage: Any) -> None:
        self.storage = storage


class Serving:
    """A server has started and listens.

    The event is sent by ``ZODB.event.notify`` in the reactor's thread. ZEO sends an event of its
    own class instead.

    :ivar server: the `zeotwisted.storageserver.service.StorageServer`.
    :ivar address: the first address at which it listens: (host, port), or the path of a Unix
        socket.
    """

    def __init__(self, server: Any, address: tuple[str, int] | str) -> None:
        self.server = server
        self.address = address


class Closed:
    """A server has closed, after it had started. The event is sent by ``ZODB.event.notify``.

    :ivar server: the `zeotwisted.storageserver.service.StorageServer`.
    """

    def __init__(self, server: Any) -> None:
        self.server = server
