"""Loads: cold ones by one client, several processes and several threads; prefetch, cache hits."""

from __future__ import annotations

import random
import threading
from collections.abc import Generator
from statistics import median
from time import perf_counter
from typing import Any

from ..contenders import Needs
from ..databases import SMALL_SIZE, small_oids
from ..figures import Figure, at_least, at_most
from ..stage import Stage
from .measure import Measure, before, check_size, percentile

__all__ = ["READS", "cold_loads"]

_CLIENTS = 4
_THREADS = 8
_PREFETCH = 20

Durations = Generator[None, None, list[float]]


def cold_loads(
    storage: Any, seed: int, warm_up: int, count: int, share: int = 0, shares: int = 1
) -> Durations:
    """Load records that this client has never seen, one after the other."""
    at = before(storage)
    oids = small_oids(warm_up + count, seed, share, shares)
    for oid in oids[:warm_up]:
        storage.loadBefore(oid, at)
    yield
    durations = []
    for oid in oids[warm_up:]:
        start = perf_counter()
        loaded = storage.loadBefore(oid, at)
        durations.append(perf_counter() - start)
        check_size(loaded, SMALL_SIZE)
    return durations


def pages(storage: Any, seed: int, objects: int, size: int, warm_up: int, count: int) -> Durations:
    """Read transactions: each begins as ZODB does, and loads some objects of a working set."""
    begin = getattr(storage, "newTransaction", None)
    choose = random.Random(seed)
    oids = small_oids(objects, seed)
    durations = []
    for number in range(warm_up + count):
        if number == warm_up:
            yield
        wanted = choose.sample(oids, min(size, len(oids)))
        start = perf_counter()
        if begin is not None:
            begin()
        at = before(storage)
        for oid in wanted:
            storage.loadBefore(oid, at)
        durations.append(perf_counter() - start)
    return durations[warm_up:]


def cold_loads_by_threads(
    storage: Any, seed: int, threads: int, warm_up: int, count: int
) -> Generator[None, None, int]:
    """Let threads load unseen records at the same time; return how many all of them loaded."""
    at = before(storage)
    for oid in small_oids(warm_up, seed):
        storage.loadBefore(oid, at)
    done = []

    def load(oids: list[bytes]) -> None:
        for oid in oids:
            check_size(storage.loadBefore(oid, at), SMALL_SIZE)
        done.append(len(oids))

    oids = small_oids(warm_up + threads * count, seed)[warm_up:]
    workers = [
        threading.Thread(target=load, args=(oids[number::threads],)) for number in range(threads)
    ]
    yield
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if len(done) != threads:
        raise RuntimeError("a thread has failed")
    return sum(done)


def cache_hits(storage: Any, seed: int, count: int, passes: int) -> Durations:
    """Load records that the client's cache holds."""
    at = before(storage)
    oids = small_oids(count, seed)
    for oid in oids:
        storage.loadBefore(oid, at)
    yield
    durations = []
    for _ in range(passes):
        for oid in oids:
            start = perf_counter()
            loaded = storage.loadBefore(oid, at)
            durations.append(perf_counter() - start)
            check_size(loaded, SMALL_SIZE)
    return durations


def prefetches(storage: Any, seed: int, warm_up: int, count: int) -> Durations:
    """Announce the wish for some unseen records, then load them all; time for each record.

    `prefetch` may return before the records have arrived, so only the loads that follow tell
    when they have.
    """
    at = before(storage)
    oids = small_oids((warm_up + count) * _PREFETCH, seed)
    durations = []
    for first in range(0, len(oids), _PREFETCH):
        if first == warm_up * _PREFETCH:
            yield
        wanted = oids[first : first + _PREFETCH]
        start = perf_counter()
        storage.prefetch(wanted, at)
        for oid in wanted:
            storage.loadBefore(oid, at)
        durations.append((perf_counter() - start) / _PREFETCH)
    return durations[warm_up:]


def _play_load(stage: Stage) -> dict[str, float]:
    with stage.daemon("small"):
        order = stage.order(
            cold_loads, seed=stage.seed, warm_up=stage.count(500), count=stage.count(4000)
        )
        performance = stage.perform(order)
    (durations,) = performance.results
    return {
        "load": median(durations),
        "load99": percentile(durations, 99),
        "loadcpu": performance.server_cpu / len(durations),
    }


def _play_load4(stage: Stage) -> dict[str, float]:
    with stage.daemon("small"):
        orders = [
            stage.order(
                cold_loads,
                seed=stage.seed,
                warm_up=stage.count(200),
                count=stage.count(2000),
                share=number,
                shares=_CLIENTS,
            )
            for number in range(_CLIENTS)
        ]
        performance = stage.perform(*orders)
    durations = [duration for result in performance.results for duration in result]
    return {
        "load4": performance.seconds / len(durations),
        "load4p50": median(durations),
        "load4cpu": performance.server_cpu / len(durations),
    }


def _play_again(stage: Stage) -> dict[str, float]:
    """The second client loads what the first one has loaded before."""
    with stage.daemon("small"):
        for _ in range(2):
            order = stage.order(
                cold_loads, seed=stage.seed, warm_up=stage.count(200), count=stage.count(4000)
            )
            performance = stage.perform(order)
    (durations,) = performance.results
    return {
        "again": median(durations),
        "againcpu": performance.server_cpu / len(durations),
    }


def _shared(clients: int) -> Measure:
    """Processes that read the same records, in an order of their own."""
    name = f"shared{clients}"

    def play(stage: Stage) -> dict[str, float]:
        with stage.daemon("small"):
            order = stage.order(
                pages,
                seed=stage.seed,
                objects=stage.count(2000),
                size=20,
                warm_up=stage.count(20),
                count=stage.count(1000),
            )
            performance = stage.perform(*[order] * clients)
        return {name: performance.seconds / sum(map(len, performance.results))}

    title = f"{clients} processes, each reads 20 of the same 2000 records"
    return Measure(name, play, (Figure(name, title, "us"),), frozenset({Needs.DAEMON}))


def _play_threads(stage: Stage) -> dict[str, float]:
    with stage.daemon("small"):
        order = stage.order(
            cold_loads_by_threads,
            seed=stage.seed,
            threads=_THREADS,
            warm_up=stage.count(500),
            count=stage.count(1000),
        )
        performance = stage.perform(order)
    (loads,) = performance.results
    return {"threads8": loads / performance.seconds}


def _play_hit(stage: Stage) -> dict[str, float]:
    with stage.daemon("small"):
        order = stage.order(
            cache_hits, seed=stage.seed, count=stage.count(1000), passes=stage.count(20)
        )
        (durations,) = stage.perform(order).results
    return {"hit": median(durations)}


def _play_prefetch(stage: Stage) -> dict[str, float]:
    with stage.daemon("small"):
        order = stage.order(
            prefetches, seed=stage.seed, warm_up=stage.count(10), count=stage.count(200)
        )
        performance = stage.perform(order)
    (durations,) = performance.results
    return {
        "prefetch": median(durations),
        "prefetchcpu": performance.server_cpu / len(durations) / _PREFETCH,
    }


READS = (
    Measure(
        "load",
        _play_load,
        (
            Figure(
                "load",
                "cold loadBefore, one client, p50",
                "us",
                (at_most(0.40), at_most(1.25, to="bare")),
            ),
            Figure("load99", "cold loadBefore, one client, p99", "us"),
            Figure("loadcpu", "cold loadBefore: server CPU", "us", (at_most(0.50),), True),
        ),
    ),
    Measure(
        "load4",
        _play_load4,
        (
            Figure("load4", "cold loadBefore, 4 processes, per load", "us", (at_most(0.50),)),
            Figure("load4p50", "cold loadBefore, 4 processes, p50", "us", (at_most(0.50),)),
            Figure("load4cpu", "4 processes: server CPU per load", "us", (at_most(0.50),), True),
        ),
        frozenset({Needs.DAEMON}),
    ),
    Measure(
        "again",
        _play_again,
        (
            Figure("again", "cold load of what another client has loaded, p50", "us"),
            Figure("againcpu", "such a load: server CPU", "us", (at_most(0.45),), True),
        ),
        frozenset({Needs.DAEMON}),
    ),
    _shared(1),
    _shared(8),
    _shared(16),
    Measure(
        "threads8",
        _play_threads,
        (Figure("threads8", "8 threads on one storage, loads", "/s", (at_least(2.5),)),),
        frozenset({Needs.DAEMON, Needs.THREADS}),
    ),
    Measure(
        "prefetch",
        _play_prefetch,
        (
            Figure("prefetch", f"prefetch of {_PREFETCH}, per object", "us", (at_most(0.30),)),
            Figure("prefetchcpu", "prefetch: server CPU per object", "us", of_daemon=True),
        ),
        frozenset({Needs.PREFETCH}),
    ),
    Measure(
        "hit",
        _play_hit,
        (Figure("hit", "cache hit", "us", (at_most(0.60),)),),
        frozenset({Needs.CACHE}),
    ),
)
