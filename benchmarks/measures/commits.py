"""Transactions: small ones by one client and by several, and a long one."""

from __future__ import annotations

import os
from collections.abc import Generator
from statistics import median
from time import perf_counter
from typing import Any

from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

from ..contenders import Needs
from ..figures import Figure, Goal, at_least, at_most
from ..stage import Stage
from .measure import Measure

__all__ = ["COMMITS", "commit", "commits"]


#: How the records of ZODB begin. A server of ours looks twice at others.
_BEGINNING = b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x00."


def record(size: int) -> bytes:
    """Return a record of so many bytes, which begins as those of ZODB do."""
    return _BEGINNING + os.urandom(size - len(_BEGINNING))


def commit(storage: Any, serials: dict[bytes, bytes], data: bytes) -> bytes:
    """Store `data` as the new state of all these objects; return the tid."""
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    for oid, serial in serials.items():
        storage.store(oid, serial, data, "", transaction)
    storage.tpc_vote(transaction)
    tid: bytes = storage.tpc_finish(transaction)
    return tid


def commits(
    storage: Any, objects: int, size: int, warm_up: int, count: int
) -> Generator[None, None, list[float]]:
    """Commit transactions of new objects. The oids are allocated beforehand."""
    data = record(size)
    oids = [[storage.new_oid() for _ in range(objects)] for _ in range(warm_up + count)]
    for group in oids[:warm_up]:
        commit(storage, dict.fromkeys(group, z64), data)
    yield
    tids = set()
    durations = []
    for group in oids[warm_up:]:
        serials = dict.fromkeys(group, z64)
        start = perf_counter()
        tid = commit(storage, serials, data)
        durations.append(perf_counter() - start)
        tids.add(tid)
    if len(tids) != count or None in tids:
        raise RuntimeError("some commits have no transaction id of their own")
    return durations


def _one_client(
    name: str,
    title: str,
    unit: str,
    objects: int,
    size: int,
    warm_up: int,
    count: int,
    *goals: Goal,
) -> Measure:
    def play(stage: Stage) -> dict[str, float]:
        with stage.daemon("empty"):
            order = stage.order(
                commits,
                objects=objects,
                size=size,
                warm_up=warm_up,
                count=stage.count(count),
            )
            performance = stage.perform(order)
        (durations,) = performance.results
        return {
            name: median(durations),
            f"{name}cpu": performance.server_cpu / len(durations),
        }

    figures = (
        Figure(name, title, unit, goals),
        Figure(f"{name}cpu", f"{title}: server CPU", unit, of_daemon=True),
    )
    return Measure(name, play, figures)


def _committers(clients: int) -> Measure:
    name = f"committers{clients}"

    def play(stage: Stage) -> dict[str, float]:
        with stage.daemon("empty"):
            order = stage.order(
                commits, objects=3, size=1000, warm_up=stage.count(10), count=stage.count(150)
            )
            performance = stage.perform(*[order] * clients)
        transactions = sum(map(len, performance.results))
        return {
            name: transactions / performance.seconds,
            f"{name}cpu": performance.server_cpu / transactions,
        }

    figures = (
        Figure(name, f"{clients} committers, transactions", "/s", (at_least(1.5),)),
        Figure(f"{name}cpu", f"{clients} committers: server CPU each", "us", of_daemon=True),
    )
    return Measure(name, play, figures, frozenset({Needs.DAEMON}))


def _goals(limit: float) -> tuple[Goal, Goal]:
    return at_most(limit), at_most(0.35, above="file")


COMMITS = (
    _one_client("commit3", "commit of 3 x 1000 B", "us", 3, 1000, 20, 300, *_goals(0.75)),
    _one_client("commit20", "commit of 20 x 300 B", "us", 20, 300, 20, 300, *_goals(0.55)),
    _committers(4),
    _committers(8),
    _committers(16),
    _one_client("bulk", "commit of 10 000 x 1000 B", "ms", 10_000, 1000, 0, 2, at_most(0.60)),
)
