"""What an application does with objects, by several processes that do it at the same time.

The steps are those by which ZEO's authors compare their releases. Each process has a tree of its
own: it adds objects, changes all of them, reads them while the storage's cache has them, reads them
with an empty cache, and once more, but announces in groups what it is about to read. Unlike in the
other measures, all of ZODB is at work: objects are pickled, and unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from statistics import median
from typing import Any

import transaction
from persistent.mapping import PersistentMapping

from ..contenders import Needs
from ..figures import Figure
from ..makes import open_database
from ..stage import MIB, Performance, Stage
from .measure import Measure

__all__ = ["EXERCISES"]

_CONCURRENCIES = (1, 2, 4, 8)
_SIZE = 300
_GROUP = 100

_STEPS = {
    "add": "add an object",
    "update": "change an object",
    "cached": "read a cached object",
    "cold": "read an object",
    "prefetch": "read a prefetched object",
}


def exercise(
    order: dict[str, Any], name: str, count: int
) -> Generator[str | None, None, str | None]:
    """Do all steps, one for each time that the generator is resumed; opening is one, too."""
    manager = transaction.TransactionManager()

    def open_tree() -> tuple[Any, Any]:
        database = open_database(order["make"], order["address"], 20 * MIB)
        connection = database.open(manager)
        return connection, connection.root()[name]

    def close() -> None:
        database = connection.db()
        manager.abort()
        connection.close()
        database.close()

    connection, tree = open_tree()
    yield None
    for first in range(0, count, _GROUP):
        for number in range(first, min(first + _GROUP, count)):
            tree[number] = PersistentMapping(text="a" * _SIZE, read=0)
        manager.commit()
    yield "add"
    for group in _groups(tree.values()):
        for item in group:
            item["text"] = "b" * _SIZE
        manager.commit()
    yield "update"
    connection.cacheMinimize()
    yield None
    _read(_groups(tree.values()), count)
    yield "cached"
    close()
    connection, tree = open_tree()
    yield None
    _read(_groups(tree.values()), count)
    yield "cold"
    close()
    connection, tree = open_tree()
    yield None
    _read(_groups(tree.values(), connection.prefetch), count)
    yield "prefetch"
    close()
    return None


def _groups(
    items: Iterable[Any], announce: Callable[[list[Any]], None] = lambda group: None
) -> Generator[list[Any], None, None]:
    group = []
    for item in items:
        group.append(item)
        if len(group) == _GROUP:
            announce(group)
            yield group
            group = []
    if group:
        announce(group)
        yield group


def _read(groups: Iterable[list[Any]], count: int) -> None:
    texts = [item["text"] for group in groups for item in group]
    if texts != ["b" * _SIZE] * count:
        raise RuntimeError("these are not the objects that were stored")


def _measure(concurrency: int) -> Measure:
    def name_of(step: str) -> str:
        return f"{step}{concurrency}"

    def play(stage: Stage) -> dict[str, float]:
        count = stage.count(1000)
        figures: dict[str, float] = {}
        with stage.daemon("trees"):
            orders = [
                stage.order(exercise, connects_itself=True, name=f"tree{number}", count=count)
                for number in range(concurrency)
            ]
            with stage.clients(*orders) as clients:
                while len(figures) < len(_STEPS):
                    performance = stage.act(clients)
                    step = performance.results[0]
                    if step is not None:
                        figures[name_of(step)] = _seconds_each(performance) / count
        return figures

    unit = "us"
    suffix = "1 process" if concurrency == 1 else f"{concurrency} processes"
    figures = tuple(
        Figure(name_of(step), f"{title}, {suffix}", unit) for step, title in _STEPS.items()
    )
    needs = frozenset({Needs.DAEMON, Needs.DATABASE})
    return Measure(f"exercise{concurrency}", play, figures, needs)


def _seconds_each(performance: Performance) -> float:
    """How long a client took: what each of them sees of the others' presence."""
    return median(performance.durations)


EXERCISES = {measure.name: measure for measure in (_measure(number) for number in _CONCURRENCIES)}
