"""A rolling deployment: processes begin one after the other, each with an empty cache.

Each process shows pages, of which some are asked for much more often than others. A page shows ten
objects, always the same.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from ZODB.DB import DB

from ..graphs import OBJECTS, key
from ..makes import open_client
from ..stage import MIB, Stage

__all__ = ["Start", "deploy", "reached"]

_ON_A_PAGE = 10
_PAGES = OBJECTS // _ON_A_PAGE

#: How many pages a process shows, over how many of them the hit rate is taken, and which part of
#: them, at the end, tells the steady one.
_SHOWN = 2500
_WINDOW = 25
_STEADY = 5

#: How many times as many pages the old process has shown.
_OLD = 4

#: The hit rate to reach, as a part of the steady one.
_ENOUGH = 0.9

#: How many objects a ZODB connection keeps. All others are asked for from the client's cache.
_KEPT = 100


class Page(NamedTuple):
    """The time since the beginning, and the hits and misses of the cache so far."""

    seconds: float
    hits: int
    misses: int


@dataclass(frozen=True)
class Start:
    """How a process started.

    :ivar seconds: until the hit rate was 0.9 of the steady one.
    :ivar rate: the steady hit rate.
    :ivar first: the hit rate of the first pages.
    :ivar brought: how many records were brought in by a warm start.
    :ivar total: how long (seconds) all pages took.
    """

    seconds: float
    rate: float
    first: float
    brought: int
    total: float


def show(order: dict[str, Any], warm: bool, shown: int, seed: int) -> Generator[Any, None, Any]:
    """Show pages; return the arguments of `Start`."""
    objects = random.Random(7).sample(range(OBJECTS), OBJECTS)
    weights = list(accumulate(1 / rank for rank in range(1, _PAGES + 1)))
    numbers = random.Random(seed).choices(range(_PAGES), cum_weights=weights, k=shown)
    yield
    begin = time.perf_counter()
    storage = open_client(order["make"], order["address"], 20 * MIB, warm_start=warm)
    database = DB(storage, cache_size=_KEPT)
    connection = database.open()
    folder = connection.root()["objects"]
    pages = []
    for number in numbers:
        for each in objects[number * _ON_A_PAGE : (number + 1) * _ON_A_PAGE]:
            if folder[key(each)]["n"] != each:
                raise RuntimeError("another object was seen")
        connection.cacheGC()
        counts = storage.cache_statistics()
        pages.append(Page(time.perf_counter() - begin, counts["hits"], counts["misses"]))
    brought = storage.statistics().get("warm_records", 0) if warm else 0
    connection.close()
    database.close()
    seconds, rate = reached(pages)
    window = min(_WINDOW, len(pages) - 1)
    return seconds, rate, _rate(pages[0], pages[window]), brought, pages[-1].seconds


def reached(pages: list[Page]) -> tuple[float, float]:
    """Return when the hit rate was nearly the steady one, and the steady one."""
    steady = _rate(pages[-max(2, len(pages) // _STEADY)], pages[-1])
    window = min(_WINDOW, len(pages) - 1)
    for before, after in zip(pages, pages[window:], strict=False):
        if _rate(before, after) >= _ENOUGH * steady:
            return after.seconds, steady
    return pages[-1].seconds, steady


def _rate(before: Page, after: Page) -> float:
    hits, misses = after.hits - before.hits, after.misses - before.misses
    return hits / (hits + misses) if hits + misses else 1.0


def deploy(stage: Stage, processes: int, warm: bool) -> list[Start]:
    """Start processes one after the other, while an old one has been at work before."""
    starts = []
    with stage.daemon("objects"):
        for number in range(processes + 1):
            order = stage.order(
                show,
                connects_itself=True,
                warm=warm and number > 0,
                shown=stage.count(_SHOWN) * (1 if number else _OLD),
                seed=1000 * stage.seed + number,
            )
            performance = stage.perform(order)
            starts.append(Start(*performance.results[0]))
    return starts[1:]
