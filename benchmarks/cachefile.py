"""The caches by themselves, side by side with ZEO's: ``python -m benchmarks.cachefile --help``."""

from __future__ import annotations

import argparse
import bisect
import itertools
import os
import random
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from ZEO.cache import ClientCache as ZEOCache  # type: ignore[import-untyped]
from ZODB.utils import p64

from zeotwisted.clientstorage.cache.file import FileCache
from zeotwisted.clientstorage.cache.memory import ClientCache

_MIB = 2**20
_OBJECTS = 30_000


class _Lru:
    """The least recently used goes first, without any overhead."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._data: dict[bytes, bytes] = {}

    def load(self, oid: bytes) -> Any:
        data = self._data.pop(oid, None)
        if data is not None:
            self._data[oid] = data
        return data

    def store(self, oid: bytes, start: bytes, end: bytes | None, data: bytes) -> None:
        self._data[oid] = data
        self._left -= len(data)
        while self._left < 0:
            self._left += len(self._data.pop(next(iter(self._data))))


def _workloads(length: int) -> dict[str, list[int]]:
    chance = random.Random(1)
    weights = list(itertools.accumulate(1 / (rank + 1) ** 0.9 for rank in range(_OBJECTS)))
    order = list(range(_OBJECTS))
    chance.shuffle(order)

    def zipf() -> int:
        return order[bisect.bisect(weights, chance.random() * weights[-1])]

    scanned = itertools.cycle(range(_OBJECTS, 5 * _OBJECTS))
    polluted = [zipf() if n // 5000 % 2 else next(scanned) for n in range(length)]
    shifting = [n * 10 // length * (_OBJECTS // 3) + zipf() for n in range(length)]
    return {
        "Zipf": [zipf() for _ in range(length)],
        "Zipf and scans": polluted,
        "shifting": shifting,
    }


def _hit_rates(folder: str, length: int) -> None:
    chance = random.Random(2)
    sizes = [min(20_000, int(chance.lognormvariate(6.5, 1))) for _ in range(5 * _OBJECTS)]
    total = sum(sizes[:_OBJECTS])
    print(f"{'hit rate':24}{'size':>8}{'ZEO':>8}{'LRU':>8}{'memory':>8}{'file':>8}")
    for name, oids in _workloads(length).items():
        for share in (0.05, 0.2):
            size = int(total * share)
            path = os.path.join(folder, f"{name}{share}")
            caches = [ZEOCache(None, size), _Lru(size), ClientCache(size), FileCache(path, size)]
            rates = [_hit_rate(cache, oids, sizes) for cache in caches]
            print(f"{name:24}{share:8.0%}" + "".join(f"{rate:8.3f}" for rate in rates), flush=True)


def _hit_rate(cache: Any, oids: list[int], sizes: list[int]) -> float:
    hits = 0
    for number in oids:
        oid = p64(number)
        if cache.load(oid) is not None:
            hits += 1
        else:
            cache.store(oid, p64(1), None, bytes(sizes[number]))
    return hits / len(oids)


def _hits(folder: str, rounds: int) -> None:
    print(f"\n{'hit, µs':24}{'ZEO':>8}{'memory':>8}{'ratio':>8}{'file':>8}{'ratio':>8}")
    for size in (300, 1000, 8000):
        caches = [
            ZEOCache(os.path.join(folder, f"zeo{size}"), 50 * _MIB),
            ClientCache(50 * _MIB),
            FileCache(os.path.join(folder, f"file{size}"), 50 * _MIB),
        ]
        oids = [p64(number) for number in range(2000)]
        for cache, oid in itertools.product(caches, oids):
            cache.store(oid, p64(1), None, os.urandom(size))
        zeo, memory, file = _in_turn([partial(_load, cache, oids) for cache in caches], rounds)
        count = len(oids) / 1e6
        print(
            f"{size:6} bytes{'':12}{zeo / count:8.2f}{memory / count:8.2f}{memory / zeo:8.2f}"
            f"{file / count:8.2f}{file / zeo:8.2f}",
            flush=True,
        )


def _load(cache: Any, oids: list[bytes]) -> None:
    before = p64(2)
    for oid in oids:
        cache.loadBefore(oid, before)


def _in_turn(actions: list[Callable[[], Any]], rounds: int) -> list[float]:
    durations: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for action, taken in zip(actions, durations, strict=True):
            start = perf_counter()
            action()
            taken.append(perf_counter() - start)
    return [statistics.median(taken) for taken in durations]


def _cold_start(folder: str, rounds: int, mib: int) -> None:
    data = os.urandom(4000)
    paths = [os.path.join(folder, name) for name in ("warmzeo", "warmfile")]
    makes: list[Any] = [ZEOCache, FileCache]
    for make, path in zip(makes, paths, strict=True):
        cache = make(path, mib * _MIB)
        for number in range(int(mib * _MIB * 0.95) // 4100):
            cache.store(p64(number), p64(1), None, data)
        cache.setLastTid(p64(1))
        cache.close()

    def open_zeo() -> None:
        ZEOCache(paths[0], mib * _MIB).close()

    def open_file() -> None:
        FileCache(paths[1], mib * _MIB).close()

    def index_file() -> None:
        cache = FileCache(paths[1], mib * _MIB)
        cache.wait_until_indexed()
        cache.close()

    zeo, opened, indexed = _in_turn([open_zeo, open_file, index_file], rounds)
    print(
        f"\nopening {mib} MiB, ms{'':6}{'ZEO':>8}{'file':>8}{'ratio':>8}{'indexed':>10}{'ratio':>8}"
    )
    print(
        f"{'':24}{zeo * 1e3:8.1f}{opened * 1e3:8.1f}{opened / zeo:8.3f}"
        f"{indexed * 1e3:10.1f}{indexed / zeo:8.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cachefile", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--loads", type=int, default=300_000, metavar="N", help="for hit rates")
    parser.add_argument("--size", type=int, default=500, metavar="MIB", help="of the warm file")
    parser.add_argument("--dir", help="where the files are put for the time being")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.dir) as folder:
        _hits(folder, options.rounds)
        _cold_start(folder, options.rounds, options.size)
        if options.loads:
            _hit_rates(folder, options.loads)


if __name__ == "__main__":
    main()
