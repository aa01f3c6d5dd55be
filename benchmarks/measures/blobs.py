"""Blobs, to the daemon and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from statistics import median
from time import perf_counter
from typing import Any

from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

from ..contenders import Needs
from ..figures import Figure, at_least
from ..stage import MIB, Stage
from .measure import Measure

__all__ = ["BLOBS"]

Durations = Generator[None, None, list[float]]


def _store(storage: Any, count: int, size: int) -> tuple[float, list[tuple[bytes, bytes]]]:
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


def uploads(storage: Any, blobs: int, size: int, count: int) -> Durations:
    """Commit transactions of new blobs."""
    yield
    return [_store(storage, blobs, size)[0] for _ in range(count)]


def downloads(storage: Any, blobs: int, size: int, count: int) -> Durations:
    """Fetch blobs that the client's cache has lost."""
    _, stored = _store(storage, blobs, size)
    yield
    durations = []
    for _ in range(count):
        for oid, tid in stored:
            os.remove(storage.loadBlob(oid, tid))
        start = perf_counter()
        names = [storage.loadBlob(oid, tid) for oid, tid in stored]
        durations.append(perf_counter() - start)
        if any(os.path.getsize(name) != size for name in names):
            raise RuntimeError("fetched something else than what was stored")
    return durations


def _measure(
    name: str, title: str, part: Callable[..., Durations], blobs: int, size: int
) -> Measure:
    def play(stage: Stage) -> dict[str, float]:
        number = stage.count(blobs) if blobs > 1 else 1
        with stage.daemon("empty", blobs=True):
            order = stage.order(
                part,
                blob_dir=str(stage.folder / "cache"),
                blobs=number,
                size=size,
                count=stage.count(5),
            )
            (durations,) = stage.perform(order).results
        return {name: number * size / median(durations)}

    figures = (Figure(name, title, "MB/s", (at_least(1.0),)),)
    return Measure(name, play, figures, frozenset({Needs.BLOBS}))


BLOBS = (
    _measure("blobup", "blob of 64 MiB, up", uploads, 1, 64 * MIB),
    _measure("blobdown", "blob of 64 MiB, down", downloads, 1, 64 * MIB),
    _measure("blobsup", "200 blobs of 10 kB, up", uploads, 200, 10_000),
    _measure("blobsdown", "200 blobs of 10 kB, down", downloads, 200, 10_000),
)
