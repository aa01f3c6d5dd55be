"""Loads records that are not in the cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from ..calls import Answer, ClientProtocol, Waiter
from ..speculation import AheadLoads
from .coherence import Coherence
from .later import Each, Kept
from .loads import all_into_cache, into_cache
from .prefetch import Prefetches
from .readahead import ReadAhead

__all__ = ["Reader"]


class Reader:
    """Loads records that were not in the cache.

    :param cache: the cache of `coherence`, see `cache.ClientCache`.
    :param connect: returns the connection; waits for it if necessary.
    :param is_connected: returns whether there is a connection.
    :param reads_ahead: see `ClientStorage`.
    :param cache_size: how many bytes the cache may have.
    :ivar ahead: brings more than it is asked for; None if `reads_ahead` is not ``"auto"``.
    """

    def __init__(
        self,
        coherence: Coherence,
        cache: Any,
        connect: Callable[[], ClientProtocol],
        is_connected: Callable[[], bool],
        reads_ahead: bool | str,
        cache_size: int,
    ) -> None:
        self._coherence = coherence
        self._connect = connect
        self._is_connected = is_connected
        #: Only a cache in a file has it: a thread indexes the file after it was opened.
        self._wait_until_indexed = getattr(cache, "wait_until_indexed", None)
        self._prefetches = Prefetches(coherence)
        self._read_ahead = ReadAhead(coherence) if reads_ahead is True else None
        self.ahead = AheadLoads(coherence, cache_size) if reads_ahead == "auto" else None

    @property
    def unused(self) -> Mapping[bytes, Any]:
        """The records that have come without having been asked for, and were not used yet."""
        return {} if self.ahead is None else self.ahead.unused

    @property
    def came_ahead(self) -> tuple[int, int]:
        """How many records have come without having been asked for, and how many were used."""
        return (0, 0) if self.ahead is None else (self.ahead.records, self.ahead.used)

    def note_use(self, oid: bytes) -> None:
        """Note that a record of `unused` was found in the cache."""
        if self.ahead is not None:
            self.ahead.note_use(oid)

    def fetch(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return a revision, see `ClientStorage.loadBefore`.

        The cache may have it by now: its file has been indexed, or a prefetch has been answered.
        """
        cached = None
        if self._wait_until_indexed is not None and not self._is_connected():
            # Without a server, the file is the only source.
            self._wait_until_indexed()
            cached = self._coherence.load_before(oid, tid)
        if cached is None and self._prefetches.wait_for(oid):
            cached = self._coherence.load_before(oid, tid)
        if cached is not None:
            return cached
        protocol = self._connect()
        if self._read_ahead is not None and protocol.is_extended:
            return self._read_ahead.load(protocol, oid, tid)
        if self.ahead is not None and self.ahead.understands(protocol):
            return self.ahead.load(protocol, oid, tid, into_cache(self._coherence, oid))
        return protocol.load(Waiter(into_cache(self._coherence, oid)), oid, tid)

    def begin(self, protocol: ClientProtocol, answer: Answer, oid: bytes, tid: bytes) -> None:
        """Load a revision, as `fetch` does; do not wait for it.

        :param answer: receives it, or an exception, in any thread.
        :raises ClientDisconnected: the connection is lost.
        """
        keep = into_cache(self._coherence, oid)
        if self.ahead is not None and self.ahead.understands(protocol):
            self.ahead.begin(protocol, oid, tid, partial(Kept, answer), keep)
        else:
            protocol.call(Kept(answer, keep), "loadBefore", oid, tid)

    def begin_many(
        self, protocol: ClientProtocol, answer: Answer, oids: Sequence[bytes], tid: bytes
    ) -> None:
        """Load the revisions of the first few of `oids`; do not wait for them.

        :param answer: receives a sequence of them, or an exception, in any thread. False is for an
            object that does not exist.
        :raises ClientDisconnected: the connection is lost.
        """
        if protocol.is_extended:
            keep = partial(all_into_cache, self._coherence, oids)
            protocol.call(Kept(answer, keep), "loadManyBefore", oids, tid)
            return
        each = Each(
            answer,
            len(oids),
            lambda index, result: into_cache(self._coherence, oids[index])(result),
        )
        arguments = [(oid, tid) for oid in oids]
        protocol.call_all("loadBefore", list(zip(each.answers, arguments, strict=True)))

    def prefetch(self, oids: Iterable[bytes], tid: bytes) -> None:
        """Request records for the cache; do not wait for them.

        :raises ClientDisconnected: there is no connection.
        """
        self._prefetches.prefetch(self._connect(), oids, tid)
