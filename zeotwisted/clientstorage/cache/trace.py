"""Writes the calls of a cache to a file, for ZEO's scripts ``cache_stats`` and ``cache_simul``.

`TracingCache` wraps a cache, so tracing costs nothing when it is off.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Sequence
from struct import Struct
from typing import Any

from ZODB.utils import z64

__all__ = ["TracingCache", "trace"]

_log = logging.getLogger("zeotwisted.client")

# The time in seconds, the data's length above the code, the oid's length, two tids; then the oid.
_RECORD = Struct(">IiH8s8s")
_MAX_LENGTH = 0x7FFFFF

_OPENED = 0x00
_INVALIDATE_MISS, _INVALIDATE_HIT, _FORGET_HIT = 0x10, 0x1C, 0x1E
_MISS, _HIT, _EARLIER_MISS, _EARLIER_HIT = 0x20, 0x22, 0x24, 0x26
_STORE, _STORE_EARLIER = 0x52, 0x54


def trace(cache: Any, where: str) -> Any:
    """Return a traced cache. If its trace cannot be written, log that and return `cache`.

    :param where: the value of the environment variable ``ZEO_CACHE_TRACE``. The trace of a cache
        file is beside it, in ``<path>.trace``. If this is a folder, caches in memory are traced,
        too, to ``cache-<process>-<number>.trace`` there.
    """
    path = getattr(cache, "path", None)
    try:
        if path is not None:
            return TracingCache(cache, f"{path}.trace")
        if os.path.isdir(where):
            return TracingCache(cache, _unused_name(where))
    except OSError as error:
        _log.warning("The cache is not traced, its trace cannot be written: %s", error)
    return cache


def _unused_name(folder: str) -> str:
    for number in itertools.count(1):
        path = os.path.join(folder, f"cache-{os.getpid()}-{number}.trace")
        if not os.path.exists(path):
            return path
    raise AssertionError


class TracingCache:
    """A cache that writes its calls to a file.

    :param cache: a `ClientCache` or `FileCache`; `invalidate` must return whether it has changed.
    :param path: the file; the trace is appended to it.
    :raises OSError: the file cannot be written.
    """

    def __init__(self, cache: Any, path: str) -> None:
        self._cache = cache
        # Without a buffer: a kill would lose its content, and after a fork it is written twice.
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115
        self._write(_OPENED, b"")

    def __getattr__(self, name: str) -> Any:
        # Methods that are not traced.
        return getattr(self._cache, name)

    def __len__(self) -> int:
        return len(self._cache)

    def _write(
        self, code: int, oid: bytes, start: bytes = z64, end: bytes = z64, length: int = 0
    ) -> None:
        if self._file.closed:
            return
        packed = min(length, _MAX_LENGTH) << 8 | code
        try:
            self._file.write(_RECORD.pack(int(time.time()), packed, len(oid), start, end) + oid)
        except OSError as error:
            _log.warning("The cache is not traced any more: %s", error)
            self._file.close()

    def load(self, oid: bytes) -> tuple[bytes, bytes] | None:
        """See `ClientCache.load`."""
        found: tuple[bytes, bytes] | None = self._cache.load(oid)
        if found is None:
            self._write(_MISS, oid)
        else:
            self._write(_HIT, oid, found[1], length=len(found[0]))
        return found

    def loadBefore(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """See `ClientCache.loadBefore`."""
        found: tuple[bytes, bytes, bytes | None] | None = self._cache.loadBefore(oid, tid)
        if found is None:
            if tid > self._cache.getLastTid():
                self._write(_MISS, oid)
            else:
                self._write(_EARLIER_MISS, oid, end=tid)
        elif found[2] is None:
            self._write(_HIT, oid, found[1], length=len(found[0]))
        else:
            self._write(_EARLIER_HIT, oid, end=found[1], length=len(found[0]))
        return found

    def store(self, oid: bytes, start: bytes, end: bytes | None, data: bytes) -> None:
        """See `ClientCache.store`."""
        self._cache.store(oid, start, end, data)
        # The scripts reject a store without data.
        length = len(data) or 1
        if end is None:
            self._write(_STORE, oid, start, length=length)
        else:
            self._write(_STORE_EARLIER, oid, start, end, length)

    def invalidate(self, oid: bytes, tid: bytes | None) -> bool:
        """See `ClientCache.invalidate`."""
        known: bool = self._cache.invalidate(oid, tid)
        hit = _FORGET_HIT if tid is None else _INVALIDATE_HIT
        self._write(hit if known else _INVALIDATE_MISS, oid, tid or z64)
        return known

    def changed(self, tid: bytes, oids: Sequence[bytes]) -> None:
        """See `ClientCache.changed`."""
        for oid in oids:
            self.invalidate(oid, tid)

    def forget(self, oids: Sequence[bytes]) -> None:
        """See `ClientCache.forget`."""
        for oid in oids:
            self.invalidate(oid, None)

    def close(self) -> None:
        """Close the cache and the trace."""
        self._cache.close()
        self._file.close()

    def abandon(self) -> None:
        """After fork: close the child's copies of the cache's file and of the trace."""
        abandon = getattr(self._cache, "abandon", None)
        if abandon is not None:
            abandon()
        self._file.close()
