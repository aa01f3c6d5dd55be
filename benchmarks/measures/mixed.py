"""Cold loads by one client while another one commits."""

from __future__ import annotations

import os
import select
from collections.abc import Generator
from statistics import median
from time import perf_counter
from typing import Any

from ZODB.utils import z64

from ..contenders import Needs
from ..databases import SMALL_SIZE
from ..figures import Figure, at_most
from ..stage import Stage
from .commits import commit
from .measure import Measure, percentile
from .reads import cold_loads

__all__ = ["MIXED"]

_OBJECTS = 200


def commits_until_told(
    storage: Any, objects: int, size: int, warm_up: int
) -> Generator[None, None, list[float]]:
    """Change the same objects again and again, until there is a byte to be read."""
    data = os.urandom(size)
    serials = {storage.new_oid(): z64 for _ in range(objects)}
    for _ in range(warm_up):
        serials = dict.fromkeys(serials, commit(storage, serials, data))
    yield
    durations: list[float] = []
    while not durations or not select.select([0], [], [], 0)[0]:
        start = perf_counter()
        tid = commit(storage, serials, data)
        durations.append(perf_counter() - start)
        serials = dict.fromkeys(serials, tid)
    return durations


def _play(stage: Stage) -> dict[str, float]:
    with stage.daemon("small"):
        reader = stage.order(
            cold_loads, seed=stage.seed, warm_up=stage.count(500), count=stage.count(10_000)
        )
        writer = stage.order(commits_until_told, objects=_OBJECTS, size=SMALL_SIZE, warm_up=5)
        with stage.clients(reader, writer) as clients:
            loads, commits = stage.act(clients, until_first=True).results
    return {
        "mixed50": median(loads),
        "mixed99": percentile(loads, 99),
        "mixedwriter": median(commits),
    }


MIXED = (
    Measure(
        "mixed",
        _play,
        (
            Figure("mixed50", "loads while another commits, p50", "us", (at_most(0.50),)),
            Figure("mixed99", "loads while another commits, p99", "us", (at_most(0.35),)),
            Figure("mixedwriter", "the other's commits of 200", "ms", (at_most(1.0),)),
        ),
        frozenset({Needs.DAEMON}),
    ),
)
