"""One record of 32 MiB, stored and loaded.

The first time is a figure of its own, because both processes have to grow for it.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from statistics import median
from time import perf_counter
from typing import Any

from ZODB.utils import p64, z64

from ..databases import BIG_SIZE
from ..figures import Figure, at_most
from ..stage import MIB, Stage
from .commits import commit
from .measure import Measure, before, check_size

__all__ = ["BIG"]

Durations = Generator[None, None, list[float]]


def big_stores(storage: Any, count: int) -> Durations:
    """Commit transactions of one big record each."""
    data = os.urandom(BIG_SIZE)
    oids = [storage.new_oid() for _ in range(count)]
    yield
    durations = []
    for oid in oids:
        start = perf_counter()
        commit(storage, {oid: z64}, data)
        durations.append(perf_counter() - start)
    return durations


def big_loads(storage: Any, count: int) -> Durations:
    """Load the big record; it is larger than the cache, so it comes from the daemon each time."""
    at = before(storage)
    yield
    durations = []
    for _ in range(count):
        start = perf_counter()
        loaded = storage.loadBefore(p64(1), at)
        durations.append(perf_counter() - start)
        check_size(loaded, BIG_SIZE)
    return durations


def _play_store(stage: Stage) -> dict[str, float]:
    with stage.daemon("empty"):
        (durations,) = stage.perform(stage.order(big_stores, count=stage.count(3))).results
    return {"bigstore": durations[0], "bigstore2": median(durations[1:])}


def _play_load(stage: Stage) -> dict[str, float]:
    with stage.daemon("big"):
        (durations,) = stage.perform(stage.order(big_loads, count=stage.count(4))).results
    return {"bigload": durations[0], "bigload2": median(durations[1:])}


_TITLE = f"one record of {BIG_SIZE // MIB} MiB"

BIG = (
    Measure(
        "bigstore",
        _play_store,
        (
            Figure("bigstore", f"{_TITLE}, store", "ms", (at_most(0.12),)),
            Figure("bigstore2", f"{_TITLE}, store another", "ms", (at_most(0.12),)),
        ),
    ),
    Measure(
        "bigload",
        _play_load,
        (
            Figure("bigload", f"{_TITLE}, load", "ms", (at_most(0.20),)),
            Figure("bigload2", f"{_TITLE}, load again", "ms", (at_most(0.20),)),
        ),
    ),
)
