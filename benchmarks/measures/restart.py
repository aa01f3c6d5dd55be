"""A client with a warm cache file comes back to a daemon that was started anew, and knows more."""

from __future__ import annotations

from collections.abc import Generator
from time import perf_counter
from typing import Any

from ..contenders import Needs
from ..databases import MISSED, SMALL_SIZE, small_oids
from ..figures import Figure, at_most
from ..makes import open_client
from ..stage import MIB, Stage
from .measure import Measure, before, check_size

__all__ = ["RESTART"]

#: Room for all that is missed, so that nothing is forgotten for want of space.
_CACHE_SIZE = 64 * MIB


def warm(storage: Any, seed: int, count: int) -> Generator[None, None, None]:
    """Fill the cache."""
    yield
    at = before(storage)
    oids = small_oids(count, seed)
    for first in range(0, count, 100):
        storage.prefetch(oids[first : first + 100], at)
        for oid in oids[first : first + 100]:
            check_size(storage.loadBefore(oid, at), SMALL_SIZE)


def come_back(order: dict[str, Any], seed: int) -> Generator[None, None, float]:
    """Open the storage and load something that has changed; return how long it took."""
    # Whatever is imported when the first storage of a process is opened does not count.
    open_client(order["make"], order["address"], MIB).close()
    (oid,) = small_oids(1, seed)
    yield
    start = perf_counter()
    storage = open_client(order["make"], order["address"], _CACHE_SIZE, cache="warm.zec")
    data, _, _ = storage.loadBefore(oid, before(storage))
    seconds = perf_counter() - start
    storage.close()
    if len(data) == SMALL_SIZE:
        raise RuntimeError("the cache has not been verified")
    return seconds


def _play(stage: Stage) -> dict[str, float]:
    with stage.daemon("small"):
        stage.perform(
            stage.order(
                warm,
                cache_size=_CACHE_SIZE,
                cache="warm.zec",
                seed=stage.seed,
                count=stage.count(10_000),
            )
        )
    with stage.daemon("later"):
        performance = stage.perform(stage.order(come_back, connects_itself=True, seed=stage.seed))
    (seconds,) = performance.results
    return {"verify": seconds, "verifycpu": performance.server_cpu}


RESTART = (
    Measure(
        "verify",
        _play,
        (
            Figure("verify", f"verification, {MISSED} oids missed", "ms", (at_most(0.50),)),
            Figure("verifycpu", "verification: server CPU", "ms"),
        ),
        frozenset({Needs.DAEMON, Needs.CACHE_FILE, Needs.PREFETCH}),
    ),
)
