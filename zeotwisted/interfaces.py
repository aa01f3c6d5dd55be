"""Events that applications can subscribe to, in ``zope.event.subscribers``."""

from __future__ import annotations

from typing import Any

__all__ = ["Closed", "Serving", "StaleCache"]


class StaleCache:
    """A client's cache was dropped, because it may be wrong.

    The event is sent by ``ZODB.event.notify`` in the reactor's thread. A subscriber must not call
    methods of the storage that wait for the server.

    :ivar storage: the `ClientStorage`.
    """

    def __init__(self, storage: Any) -> None:
        self.storage = storage


class Serving:
    """A server has begun to serve, and listens.

    The event is sent by ``ZODB.event.notify`` in the reactor's thread. ZEO's daemon has a class of
    its own for it.

    :ivar server: the `zeotwisted.storageserver.service.StorageServer`.
    :ivar address: where it listens: (host, port), or the path of a Unix socket. Of several
        addresses it is the first one.
    """

    def __init__(self, server: Any, address: tuple[str, int] | str) -> None:
        self.server = server
        self.address = address


class Closed:
    """A server that has served is closed. The event is sent by ``ZODB.event.notify``.

    :ivar server: the `zeotwisted.storageserver.service.StorageServer`.
    """

    def __init__(self, server: Any) -> None:
        self.server = server
