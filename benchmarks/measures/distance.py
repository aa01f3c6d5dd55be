"""What applications do with objects that are at the other end of a line.

All of ZODB is at work. Each workload has a row of figures, see `ROW`.
"""

from __future__ import annotations

import gc
import random
import select
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import mean
from typing import Any

import transaction
from persistent.mapping import PersistentMapping
from ZODB.DB import DB

from ..contenders import Needs
from ..figures import Figure
from ..graphs import CHAIN, FOLDER, OBJECTS, TREE, key
from ..makes import open_client
from ..recorder import Recorder
from ..stage import MIB, Client, Performance, Stage
from ..walks import WALKS, page_numbers
from .measure import Measure

__all__ = ["COUNTS", "DISTANCE", "PAGE", "ROW", "USUAL"]

#: Room for everything, so that what is loaded twice is not the cache's fault.
_CACHE_SIZE = 200 * MIB

COUNTS = {
    "folder": FOLDER,
    "tree-depth": TREE,
    "tree-breadth": TREE,
    "chain": CHAIN,
    "lookups": 500,
    "catalog": 400,
    "shuffled": 1000,
    "numbers": 3000,
    "keys": OBJECTS,
    "twenty": 400,
    "two": 400,
    "site": 2000,
    "documents": 200,
}

PAGE = 400
#: How many processes show the page; the last one counts.
_VISITS = 3

_SHOOTOUT = 200
_SIZE = 300
_STEPS = ("add", "update", "cold", "prefetch")

_READERS = 2
_TRANSACTIONS = 20
_READ = 20
_HOT = 200
_WRITTEN = 5

#: The figures of a row: name, unit.
ROW = {
    "time": "ms",
    "round trips": "",
    "received": "kB",
    "unused": "",
    "daemon": "ms",
    "client": "ms",
    "late": "us",
}


# What the clients do.


@contextmanager
def _opened(order: dict[str, Any]) -> Iterator[tuple[Any, Any, Recorder]]:
    """Yield a connection, its transaction manager, and what has counted its loads."""
    # What others have loaded before must not come before the measurement begins.
    storage = open_client(order["make"], order["address"], _CACHE_SIZE, warm_start=False)
    recorder = Recorder(storage)
    database = DB(recorder)
    manager = transaction.TransactionManager()
    connection = database.open(manager)
    gc.collect()
    try:
        yield connection, manager, recorder
    finally:
        manager.abort()
        connection.close()
        database.close()


def _check(seen: int, count: int) -> None:
    if seen < count:
        raise RuntimeError(f"{seen} objects were seen instead of {count}")


def walk(
    order: dict[str, Any], name: str, count: int, seed: int
) -> Generator[int | None, None, None]:
    """Go through unchanged objects; yield how many records came in vain."""
    with _opened(order) as (connection, _, recorder):
        yield None
        _check(WALKS[name](connection.root(), count, seed), count)
        yield recorder.unused()


def change_page(order: dict[str, Any], count: int) -> Generator[None, None, None]:
    """Change each tenth object of the page, and put another one in the place of each twentieth."""
    with _opened(order) as (connection, manager, _):
        yield
        objects = connection.root()["objects"]
        for number in page_numbers(count)[::10]:
            objects[key(number)]["title"] = "changed"
        for number in page_numbers(count)[::20]:
            objects[key(number)] = PersistentMapping(title="another", n=number)
        manager.commit()
        yield


def shoot_out(order: dict[str, Any], count: int) -> Generator[Any, None, None]:
    """Do what zodbshootout does. Each part but the unnamed ones yields its name, and a number."""
    with _opened(order) as (connection, manager, _):
        connection.root()["shootout"] = PersistentMapping()
        manager.commit()
        yield None
        pages = connection.root()["shootout"]
        for number in range(count):
            pages[number] = PersistentMapping(data="a" * _SIZE)
        manager.commit()
        yield "add", None
        for number in range(count):
            pages[number]["data"] = "b" * _SIZE
        manager.commit()
        yield "update", None
    for step in ("cold", "prefetch"):
        with _opened(order) as (connection, _, recorder):
            yield None
            pages = connection.root()["shootout"]
            if step == "prefetch":
                connection.prefetch(list(pages.values()))
            _check(sum(1 for page in pages.values() if page["data"] == "b" * _SIZE), count)
            yield step, recorder.unused()


def read(order: dict[str, Any], transactions: int, seed: int) -> Generator[int | None, None, None]:
    """Look at some of the objects that are often used, in many transactions."""
    choose = random.Random(seed)
    with _opened(order) as (connection, manager, recorder):
        yield None
        for _ in range(transactions):
            manager.begin()
            objects = connection.root()["objects"]
            for number in choose.sample(page_numbers(_HOT), _READ):
                str(objects[key(number)]["title"])
            manager.abort()
        yield recorder.unused()


def write_until_told(order: dict[str, Any], seed: int) -> Generator[int | None, None, None]:
    """Change some of the objects that are often used, until there is a byte to be read."""
    choose = random.Random(seed)
    with _opened(order) as (connection, manager, _):
        objects = connection.root()["objects"]
        yield None
        commits = 0
        while not commits or not select.select([0], [], [], 0)[0]:
            for number in choose.sample(page_numbers(_HOT), _WRITTEN):
                objects[key(number)]["title"] = f"title {commits}"
            manager.commit()
            commits += 1
        yield commits


# The measures.


@dataclass
class _Act:
    performance: Performance
    figures: dict[str, float]


def _act(stage: Stage, clients: list[Client], lanes: int = 1, until_first: bool = False) -> _Act:
    """Have clients play their part; the figures are the means of those at the first lanes."""
    before = [stage.traffic(lane) for lane in range(lanes)]
    cpu = stage.usage.client_cpu
    performance = stage.act(clients, until_first)
    after = [stage.traffic(lane) for lane in range(lanes)]
    figures = {
        "time": mean(performance.durations[:lanes]),
        "daemon": performance.server_cpu,
        "client": stage.usage.client_cpu - cpu,
    }
    if (late := stage.lateness()) is not None:
        pairs = list(zip(before, after, strict=True))
        for name, counter in (("round trips", "round_trips"), ("received", "received_bytes")):
            figures[name] = mean(new[counter] - old[counter] for old, new in pairs)
        figures["late"] = late
    return _Act(performance, figures)


def _row(name: str, figures: dict[str, float], unused: float | None) -> dict[str, float]:
    if unused is not None:
        figures["unused"] = unused
    return {f"{name}/{figure}": value for figure, value in figures.items()}


def _perform(stage: Stage, name: str, count: int) -> dict[str, float]:
    order = stage.order(walk, connects_itself=True, name=name, count=count, seed=stage.seed)
    with stage.clients(order) as clients:
        act = _act(stage, clients)
    return _row(name, act.figures, act.performance.results[0])


def _walk(name: str) -> Callable[[Stage], dict[str, float]]:
    def play(stage: Stage) -> dict[str, float]:
        with stage.daemon("objects"):
            return _perform(stage, name, stage.count(COUNTS[name]))

    return play


def _page(stage: Stage) -> dict[str, float]:
    count = stage.count(PAGE)
    with stage.daemon("objects"):
        return [_perform(stage, "page", count) for _ in range(_VISITS)][-1]


def _changed(stage: Stage) -> dict[str, float]:
    count = stage.count(PAGE)
    with stage.daemon("objects"):
        for _ in range(_VISITS - 1):
            _perform(stage, "page", count)
        stage.perform(stage.order(change_page, connects_itself=True, lane=1, count=count))
        row = _perform(stage, "page", count)
    return {name.replace("page", "changed"): value for name, value in row.items()}


def _shootout(stage: Stage) -> dict[str, float]:
    rows: dict[str, float] = {}
    done = 0
    with stage.daemon("objects"):
        order = stage.order(shoot_out, connects_itself=True, count=stage.count(_SHOOTOUT))
        with stage.clients(order) as clients:
            while done < len(_STEPS):
                act = _act(stage, clients)
                if (result := act.performance.results[0]) is not None:
                    step, unused = result
                    rows.update(_row(f"shootout-{step}", act.figures, unused))
                    done += 1
    return rows


def _mixture(stage: Stage) -> dict[str, float]:
    with stage.daemon("objects"):
        readers = [
            stage.order(
                read,
                connects_itself=True,
                lane=lane,
                transactions=stage.count(_TRANSACTIONS),
                seed=stage.seed + lane,
            )
            for lane in range(_READERS)
        ]
        writer = stage.order(write_until_told, connects_itself=True, lane=_READERS, seed=stage.seed)
        with stage.clients(*readers, writer) as clients:
            act = _act(stage, clients, _READERS, until_first=True)
    return _row("mixture", act.figures, mean(act.performance.results[:_READERS]))


def _measure(
    name: str, play: Callable[[Stage], dict[str, float]], rows: tuple[str, ...] = ()
) -> Measure:
    figures = tuple(
        Figure(f"{row}/{figure}", f"{row}: {figure}", unit)
        for row in rows or (name,)
        for figure, unit in ROW.items()
    )
    return Measure(name, play, figures, frozenset({Needs.DAEMON, Needs.DATABASE}))


_OTHERS = (
    _measure("page", _page),
    _measure("changed", _changed),
    _measure("shootout", _shootout, tuple(f"shootout-{step}" for step in _STEPS)),
    _measure("mixture", _mixture),
)

DISTANCE = {name: _measure(name, _walk(name)) for name in COUNTS} | {
    measure.name: measure for measure in _OTHERS
}

#: What is done if nothing is named. The others show when reading ahead pays.
USUAL = [
    "folder",
    "tree-depth",
    "tree-breadth",
    "chain",
    "lookups",
    "catalog",
    "page",
    "changed",
    "shootout",
    "mixture",
]
