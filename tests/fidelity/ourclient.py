"""Our client, with the private names of ZEO's through which its tests do their own business.

By them the tests find the server, shorten their waiting and see which way a cache was verified.
What only the inside of ZEO's client could answer is not here.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

from ZODB.utils import z64

import zeotwisted
from zeotwisted.clientstorage.connection import connection

__all__ = ["ClientStorage", "note_verification"]


class ClientStorage(zeotwisted.ClientStorage):
    """Our client."""

    def __init__(self, addr: Any, storage: str = "1", *args: Any, **options: Any) -> None:
        self._addr = addr
        self._storage = storage
        self._server = _Waiting(self)
        self._connection_generation = 0
        super().__init__(addr, storage, *args, **options)

    @property
    def _server_addr(self) -> str | None:
        return self._info.server

    def _call(self, name: str, *args: Any, timeout: float | None = None) -> Any:
        return self._link.call(name, *args, timeout=timeout)

    def notify_connected(self, conn: Any, info: dict[str, Any]) -> None:
        self._connection_generation += 1
        super().notify_connected(conn, info)


class _Waiting:
    """How long a client waits for a connection."""

    def __init__(self, storage: ClientStorage) -> None:
        self._storage = storage

    @property
    def timeout(self) -> float:
        return self._storage._link.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._storage._link.timeout = seconds


def note_verification() -> None:
    """Let connections have a `verify_result` with ZEO's words."""
    verify = connection.verify

    async def noting(server: Any, server_tid: bytes, coherence: Any, *args: Any) -> None:
        known = coherence.last_transaction()
        with mock.patch.object(coherence, "forget_all", wraps=coherence.forget_all) as forget_all:
            await verify(server, server_tid, coherence, *args)
        if known == z64:
            server.verify_result = "empty cache"
        elif known == server_tid:
            server.verify_result = "Cache up to date"
        elif forget_all.called:
            server.verify_result = "cache too old, clearing"
        else:
            server.verify_result = "quick verification"

    connection.verify = noting
