"""What applications may listen for, by ``zope.event.subscribers``."""

from __future__ import annotations

from typing import Any

__all__ = ["Closed", "Serving", "StaleCache"]


class StaleCache:
    """An event, by ``ZODB.event.notify``: a client's cache was dropped, because it may be wrong.

    It is told in the reactor's thread, so a subscriber must not call the storage's methods that
    wait for the server.

    :ivar storage: the `ClientStorage`.
    """

    def __init__(self, storage: Any) -> None:
        self.storage = storage


class Serving:
    """An event, by ``ZODB.event.notify``: a server has begun to serve, and listens.

    It is told in the reactor's thread. ZEO's daemon tells the same with a class of its own.

    :ivar server: the `zeotwisted.storageserver.service.StorageServer`.
    :ivar address: where it listens: (host, port), or the path of a Unix socket. Of several
        addresses it is the first one.
    """

    def __init__(self, server: Any, address: tuple[str, int] | str) -> None:
        self.server = server
        self.address = address


class Closed:
    """An event, by ``ZODB.event.notify``: a server that has served is closed.

    :ivar server: the `zeotwisted.storageserver.service.StorageServer`.
    """

    def __init__(self, server: Any) -> None:
        self.server = server
