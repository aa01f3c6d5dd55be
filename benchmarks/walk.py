"""Cold walks through a database, with read-ahead and without: ``python -m benchmarks.walk``.

Wall time depends on what else the machine does; processor time less so, and the number of records
that were loaded not at all. It says how much was read ahead in vain.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import transaction
from BTrees.IOBTree import IOBTree
from BTrees.OOBTree import OOBTree
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from .makes import CONNECT_TIMEOUT, client_class
from .usage import cpu_time

__all__ = ["main"]

_CACHE_SIZE = 200 * 1024 * 1024

#: Makes and options of their clients, by what they are called.
_CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "zeo": ("zeo", {}),
    "without": ("zeotwisted", {"read_ahead": False}),
    "with": ("zeotwisted", {"read_ahead": True}),
}

_OBJECTS = 50_000
_FOLDERS = 8


class _Cost(NamedTuple):
    """What one object costs: microseconds, and records that were loaded."""

    wall: float
    client_cpu: float
    daemon_cpu: float
    loads: float


def _fill(path: Path) -> None:
    database = DB(FileStorage(str(path)))
    root = database.open().root()
    objects = root["objects"] = OOBTree()
    numbers = root["numbers"] = IOBTree()
    for number in range(_OBJECTS):
        objects[f"key{number:08}"] = PersistentMapping(title=f"title {number}", n=number)
        numbers[number] = PersistentList([number])
        if number % 2000 == 1999:
            transaction.savepoint(True)
    shuffled = root["shuffled"] = OOBTree()
    for number in random.Random(1).sample(range(_OBJECTS), 10_000):
        shuffled[f"key{number:08}"] = PersistentMapping(n=number)
    root["site"] = _document(3)
    transaction.commit()
    database.close()


def _document(depth: int) -> PersistentMapping:
    """Return what content in Zope looks like: an object with some others of its own."""
    document = PersistentMapping(
        title="document",
        owner=PersistentMapping(name="x"),
        subjects=PersistentList([1, 2]),
        permissions=PersistentMapping(view=2),
    )
    if depth:
        document["children"] = OOBTree()
        for number in range(_FOLDERS):
            document["children"][f"k{number}"] = _document(depth - 1)
    return document


def _render(document: Any) -> int:
    """Look at all of a document; return how many objects that was."""
    str(document["title"])
    str(document["owner"]["name"])
    str(document["subjects"][0])
    str(document["permissions"]["view"])
    return 4 + sum(map(_render, document.get("children", {}).values()))


# The walks: each returns how many objects it has seen.


def _values(root: Any) -> int:
    return sum(1 for value in root["objects"].values(max="key00005") if value["n"] >= 0)


def _numbers(root: Any) -> int:
    return sum(1 for value in root["numbers"].values(max=5000) if len(value))


def _values_shuffled(root: Any) -> int:
    return sum(1 for value in root["shuffled"].values(max="key00020") if value["n"] >= 0)


def _keys(root: Any) -> int:
    return sum(1 for _ in root["objects"])


def _lookups(root: Any) -> int:
    numbers = random.Random(5).sample(range(_OBJECTS), 1000)
    return sum(1 for number in numbers if root["objects"][f"key{number:08}"]["n"] == number)


def _batches(root: Any) -> int:
    """Twenty in order at random places."""
    starts = random.Random(6).sample(range(_OBJECTS - 20), 40)
    for start in starts:
        for number in range(start, start + 20):
            str(root["objects"][f"key{number:08}"]["n"])
    return 20 * len(starts)


def _two(root: Any) -> int:
    """Two in order at random places: the worst case."""
    starts = random.Random(7).sample(range(_OBJECTS - 2), 400)
    for start in starts:
        for number in (start, start + 1):
            str(root["objects"][f"key{number:08}"]["n"])
    return 2 * len(starts)


def _site(root: Any) -> int:
    return _render(root["site"])


def _pages(root: Any) -> int:
    """Look at documents, one by one, and at nothing of the folders that they are in."""
    choose = random.Random(5)
    for _ in range(60):
        document = root["site"]
        for _ in range(3):
            document = document["children"][f"k{choose.randrange(_FOLDERS)}"]
        _render(document)
    return 60


_WALKS: dict[str, Callable[[Any], int]] = {
    "values": _values,
    "numbers": _numbers,
    "values, shuffled": _values_shuffled,
    "keys": _keys,
    "lookups": _lookups,
    "20 in order": _batches,
    "2 in order": _two,
    "site": _site,
    "pages": _pages,
}


@contextmanager
def _daemon(make: str, path: Path) -> Iterator[tuple[int, Any]]:
    """Serve a file; yield the daemon's process id and its address."""
    command = [sys.executable, "-m", "benchmarks.daemon", make, str(path)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            address = json.loads(process.stdout.readline())
            yield process.pid, tuple(address) if isinstance(address, list) else address
        finally:
            process.stdin.close()


def _walk(contender: str, pid: int, address: Any, walk: Callable[[Any], int]) -> _Cost:
    make, options = _CONTENDERS[contender]
    storage = client_class(make)(
        address, cache_size=_CACHE_SIZE, wait_timeout=CONNECT_TIMEOUT, **options
    )
    database = DB(storage)
    root = database.open().root()
    gc.collect()
    loads, daemon = storage.server_status()["loads"], cpu_time(pid)
    wall, client = time.perf_counter(), time.process_time()
    objects = walk(root)
    wall, client = time.perf_counter() - wall, time.process_time() - client
    daemon = cpu_time(pid) - daemon
    loads = storage.server_status()["loads"] - loads
    database.close()
    return _Cost(*(x / objects for x in (wall * 1e6, client * 1e6, daemon * 1e6, loads)))


def _measure(contenders: list[str], walks: list[str], rounds: int, folder: Path) -> None:
    template = folder / "walk.fs"
    _fill(template)
    costs: dict[tuple[str, str], list[_Cost]] = {}
    for make in ("zeo", "zeotwisted"):
        path = folder / f"{make}.fs"
        path.write_bytes(template.read_bytes())
        mine = [name for name in contenders if _CONTENDERS[name][0] == make]
        if not mine:
            continue
        with _daemon(make, path) as (pid, address):
            for round in range(rounds):
                for walk in walks:
                    # Each of them is the first as often as the others.
                    for name in mine if round % 2 else reversed(mine):
                        cost = _walk(name, pid, address, _WALKS[walk])
                        costs.setdefault((walk, name), []).append(cost)
    print(
        f"{'walk':<18}{'client':<9}{'wall µs':>9}{'client cpu':>12}{'daemon cpu':>12}{'loads':>8}"
    )
    for walk in walks:
        for name in contenders:
            cost = _Cost(*map(statistics.median, zip(*costs[walk, name], strict=True)))
            print(
                f"{walk:<18}{name:<9}{cost.wall:>9.1f}{cost.client_cpu:>12.1f}"
                f"{cost.daemon_cpu:>12.1f}{cost.loads:>8.2f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contenders", nargs="*", default=list(_CONTENDERS), choices=_CONTENDERS)
    parser.add_argument("--walks", nargs="*", default=list(_WALKS), choices=_WALKS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _measure(options.contenders, options.walks, options.rounds, Path(folder))


if __name__ == "__main__":
    main()
