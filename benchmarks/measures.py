"""What is measured. Each measure runs in a client process of its own, against a fresh daemon."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, u64, z64

from .databases import BIG_SIZE, SMALL_SIZE, small_oids

__all__ = ["MEASURES", "Measure"]

#: One duration in seconds for each timed operation.
Durations = list[float]

_MIB = 2**20
_PREFETCH = 20


@dataclass(frozen=True)
class Measure:
    """One figure.

    :ivar database: the kind of database that the daemon serves.
    :ivar run: given a connected storage and a seed, returns the durations.
    :ivar cache_size: of the client, in bytes. Nothing is evicted, unless that is the point.
    :ivar blobs: whether client and daemon have directories for blobs.
    :ivar goal: the ratio to ZEO that zeotwisted is meant to reach, where there is one.
    """

    name: str
    title: str
    unit: str
    database: str
    run: Callable[[Any, int], Durations]
    cache_size: int = 20 * _MIB
    blobs: bool = False
    goal: float | None = None


def _before(storage: Any) -> bytes:
    """What a ZODB connection asks for: the newest state as of the last transaction."""
    return p64(u64(storage.lastTransaction()) + 1)


def cold_loads(storage: Any, seed: int, warm_up: int = 200, count: int = 2000) -> Durations:
    """Load records that this client has never seen, one after the other."""
    before = _before(storage)
    durations = []
    for oid in small_oids(warm_up + count, seed):
        start = perf_counter()
        loaded = storage.loadBefore(oid, before)
        durations.append(perf_counter() - start)
        _check_size(loaded, SMALL_SIZE)
    return durations[warm_up:]


def cache_hits(storage: Any, seed: int, count: int = 500, passes: int = 10) -> Durations:
    """Load records that the client's cache holds."""
    before = _before(storage)
    oids = small_oids(count, seed)
    for oid in oids:
        storage.loadBefore(oid, before)
    durations = []
    for _ in range(passes):
        for oid in oids:
            start = perf_counter()
            loaded = storage.loadBefore(oid, before)
            durations.append(perf_counter() - start)
            _check_size(loaded, SMALL_SIZE)
    return durations


def prefetches(storage: Any, seed: int, warm_up: int = 10, count: int = 100) -> Durations:
    """Announce the wish for some unseen records, then load them all; time for each record.

    `prefetch` may return before the records have arrived, so only the loads that follow tell
    when they have.
    """
    before = _before(storage)
    oids = small_oids((warm_up + count) * _PREFETCH, seed)
    durations = []
    for first in range(0, len(oids), _PREFETCH):
        wanted = oids[first : first + _PREFETCH]
        start = perf_counter()
        storage.prefetch(wanted, before)
        for oid in wanted:
            storage.loadBefore(oid, before)
        durations.append((perf_counter() - start) / _PREFETCH)
    return durations[warm_up:]


def _commits(objects: int, size: int, warm_up: int, count: int) -> Callable[[Any, int], Durations]:
    def commits(storage: Any, seed: int) -> Durations:
        """Commit transactions of new objects through the storage's own interface."""
        data = os.urandom(size)
        tids = set()
        durations = []
        for _ in range(warm_up + count):
            oids = [storage.new_oid() for _ in range(objects)]
            transaction = TransactionMetaData()
            start = perf_counter()
            storage.tpc_begin(transaction)
            for oid in oids:
                storage.store(oid, z64, data, "", transaction)
            storage.tpc_vote(transaction)
            tid = storage.tpc_finish(transaction)
            durations.append(perf_counter() - start)
            tids.add(tid)
        if len(tids) != warm_up + count or None in tids:
            raise RuntimeError("some commits have no transaction id of their own")
        return durations[warm_up:]

    return commits


def big_loads(storage: Any, seed: int, count: int = 3) -> Durations:
    """Load the big record; it is larger than the cache, so it comes from the daemon each time."""
    before = _before(storage)
    durations = []
    for _ in range(count):
        start = perf_counter()
        loaded = storage.loadBefore(p64(1), before)
        durations.append(perf_counter() - start)
        _check_size(loaded, BIG_SIZE)
    return durations


def _store_blobs(storage: Any, count: int, size: int) -> tuple[float, list[tuple[bytes, bytes]]]:
    """Commit new blobs in one transaction; return the duration, and their oids and tid."""
    names = []
    for number in range(count):
        names.append(os.path.join(storage.temporaryDirectory(), f"new{number}"))
        with open(names[-1], "wb") as file:
            file.write(os.urandom(size))
    oids = [storage.new_oid() for _ in names]
    transaction = TransactionMetaData()
    start = perf_counter()
    storage.tpc_begin(transaction)
    for oid, name in zip(oids, names, strict=True):
        storage.storeBlob(oid, z64, b"a blob", name, "", transaction)
    storage.tpc_vote(transaction)
    tid = storage.tpc_finish(transaction)
    return perf_counter() - start, [(oid, tid) for oid in oids]


def _blob_uploads(blobs: int, size: int, count: int) -> Callable[[Any, int], Durations]:
    def uploads(storage: Any, seed: int) -> Durations:
        """Commit transactions of new blobs; time for each blob."""
        return [_store_blobs(storage, blobs, size)[0] / blobs for _ in range(count)]

    return uploads


def _blob_downloads(blobs: int, size: int, count: int) -> Callable[[Any, int], Durations]:
    def downloads(storage: Any, seed: int) -> Durations:
        """Fetch blobs that the client's cache has lost; time for each blob."""
        _, stored = _store_blobs(storage, blobs, size)
        durations = []
        for _ in range(count):
            for oid, tid in stored:
                os.remove(storage.loadBlob(oid, tid))
            start = perf_counter()
            names = [storage.loadBlob(oid, tid) for oid, tid in stored]
            durations.append((perf_counter() - start) / blobs)
            if any(os.path.getsize(name) != size for name in names):
                raise RuntimeError("fetched something else than what was stored")
        return durations

    return downloads


def _check_size(loaded: Any, size: int) -> None:
    if loaded is None or len(loaded[0]) != size:
        raise RuntimeError("loaded something else than what was stored")


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure("load", "cold loadBefore", "us", "small", cold_loads, goal=0.7),
        Measure("hit", "cache hit", "us", "small", cache_hits),
        Measure("prefetch", f"prefetch {_PREFETCH}, each", "us", "small", prefetches),
        Measure(
            "commit20", "commit 20 x 300 B", "us", "empty", _commits(20, 300, 20, 200), goal=0.9
        ),
        Measure("commit3", "commit 3 x 1000 B", "us", "empty", _commits(3, 1000, 20, 200)),
        Measure("bigstore", "store 64 MiB", "ms", "empty", _commits(1, BIG_SIZE, 0, 2), goal=0.2),
        Measure("bigload", "load 64 MiB", "ms", "big", big_loads),
        *(
            Measure(name, title, unit, "empty", run, blobs=True, goal=1.0)
            for name, title, unit, run in (
                ("blobup", "send a blob of 64 MiB", "ms", _blob_uploads(1, BIG_SIZE, 4)),
                ("blobdown", "fetch a blob of 64 MiB", "ms", _blob_downloads(1, BIG_SIZE, 4)),
                ("blobsup", "send 200 blobs of 10 kB, each", "us", _blob_uploads(200, 10000, 5)),
                (
                    "blobsdown",
                    "fetch 200 blobs of 10 kB, each",
                    "us",
                    _blob_downloads(200, 10000, 5),
                ),
            )
        ),
    )
}
