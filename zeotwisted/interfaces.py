"""What applications may listen for."""

from __future__ import annotations

from typing import Any

__all__ = ["StaleCache"]


class StaleCache:
    """An event, by ``ZODB.event.notify``: a client's cache was dropped, because it may be wrong.

    It is told in the reactor's thread, so a subscriber must not call the storage's methods that
    wait for the server.

    :ivar storage: the `ClientStorage`.
    """

    def __init__(self, storage: Any) -> None:
        self.storage = storage
