"""Loads beside a pack: ``python -m benchmarks.packing --help``.

A client loads records at random, without a cache, one after another; then it goes on while a pack
runs. Printed are percentiles of the times of its loads, without a pack, and beside one.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64

import zeotwisted

#: How many objects change in a transaction, and how long (bytes) each is.
_AT_ONCE = 1000
_LENGTH = 1000


def _make(path: Path, objects: int, revisions: int) -> None:
    """Make a FileStorage whose objects have so many revisions."""
    database = ZODB.DB(FileStorage(str(path)))
    connection = database.open()
    root = connection.root()
    some: list[PersistentMapping] = []
    for number in range(objects):
        if number % _AT_ONCE == 0:
            root[number] = PersistentMapping()
        each = root[number - number % _AT_ONCE][number] = PersistentMapping({"text": "x"})
        some.append(each)
    transaction.commit()
    for revision in range(revisions):
        for start in range(0, objects, _AT_ONCE):
            for each in some[start : start + _AT_ONCE]:
                each["text"] = f"{revision}" * _LENGTH
            transaction.commit()
            connection.cacheMinimize()
    connection.close()
    database.close()


def _loads(storage: Any, objects: int, until: threading.Event, least: float) -> list[float]:
    """Load at random until something has happened, and for a time at least; return the times."""
    chance = random.Random(1)
    times = []
    end = perf_counter() + least
    while not (until.is_set() and perf_counter() > end):
        oid = p64(chance.randrange(1, objects))
        begin = perf_counter()
        storage.loadBefore(oid, b"\x7f" + b"\xff" * 7)
        times.append(perf_counter() - begin)
    return times


def _shown(times: list[float]) -> str:
    times.sort()
    parts = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}
    texts = [
        f"{name} {times[int(len(times) * part)] * 1e6:6.0f} µs" for name, part in parts.items()
    ]
    return f"{len(times):7} loads: {', '.join(texts)}, longest {times[-1] * 1e3:6.1f} ms"


def _measure(make: str, path: Path, objects: int, seconds: float) -> None:
    command = [sys.executable, "-m", "benchmarks.daemon", make, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        address = tuple(json.loads(daemon.stdout.readline()))
        try:
            # No record fits into the cache.
            with (
                closing(zeotwisted.client(address, cache_size=0)) as storage,
                closing(zeotwisted.client(address)) as other,
            ):
                now = threading.Event()
                now.set()
                print(f"{make:10} without {_shown(_loads(storage, objects, now, seconds))}")
                done = threading.Event()

                def pack() -> None:
                    other.pack()
                    done.set()

                begin = perf_counter()
                thread = threading.Thread(target=pack)
                thread.start()
                times = _loads(storage, objects, done, 0.0)
                thread.join()
                print(f"{make:10} beside  {_shown(times)} (pack: {perf_counter() - begin:.1f} s)")
        finally:
            assert daemon.stdin is not None
            daemon.stdin.close()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="Loads beside a pack.")
    parser.add_argument("--objects", type=int, default=50_000)
    parser.add_argument("--revisions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of loads without a pack")
    parser.add_argument("--makes", default="zeotwisted,zeo", help="the daemons to measure")
    arguments = parser.parse_args()
    for make in arguments.makes.split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "Data.fs"
            _make(path, arguments.objects, arguments.revisions)
            _measure(make, path, arguments.objects, arguments.seconds)


if __name__ == "__main__":
    main()
