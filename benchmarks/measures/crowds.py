"""A thousand clients that do nothing but listen."""

from __future__ import annotations

from collections.abc import Generator
from statistics import median
from time import perf_counter
from typing import Any

from ZODB.utils import z64

from ..bare import BareStorage
from ..contenders import Needs
from ..crowd import Crowd
from ..figures import Figure, at_most
from ..makes import CONNECT_TIMEOUT, client_context
from ..stage import Stage
from ..usage import cpu_time, resident_memory
from .commits import commit
from .measure import Measure

__all__ = ["CROWDS"]

_CLIENTS = 1000
_OBJECTS = 10


def gather(
    order: dict[str, Any], clients: int, commits: int
) -> Generator[None, None, dict[str, float]]:
    """Connect many; commit, and wait until all have heard of it.

    The time begins before the last step of the commit. Who commits is another connection.
    """
    address, daemon, context = tuple(order["address"]), order["daemon"], client_context()
    committer = BareStorage(address, CONNECT_TIMEOUT, context)
    crowd = Crowd(address, context)
    # The daemon has done everything once, so that what it needs for the first client only
    # does not count.
    crowd.connect(1)
    commit(committer, {committer.new_oid(): z64}, b"the first")
    crowd.hear()
    yield
    memory, cpu = resident_memory(daemon), cpu_time(daemon)
    start = perf_counter()
    crowd.connect(clients)
    connected = perf_counter() - start
    figures = {
        "connect": connected,
        "connectcpu": (cpu_time(daemon) - cpu) / clients,
        "idle": max(0, resident_memory(daemon) - memory) / clients,
    }
    durations = []
    cpu = cpu_time(daemon)
    for number in range(commits):
        oids = dict.fromkeys((committer.new_oid() for _ in range(_OBJECTS)), z64)
        durations.append(_fan_out(committer, crowd, oids, b"%d" % number))
    figures["fanout"] = median(durations)
    figures["fanoutcpu"] = (cpu_time(daemon) - cpu) / commits
    crowd.close()
    committer.close()
    return figures


def _fan_out(committer: BareStorage, crowd: Crowd, oids: dict[bytes, bytes], data: bytes) -> float:
    """Commit, and return how long it took until all had seen it."""
    start = perf_counter()
    committer.send_commit(oids, data)
    heard = crowd.hear()
    seconds = perf_counter() - start
    if committer.receive_commit() != heard:
        raise RuntimeError("they have heard of something else")
    return seconds


def _play(stage: Stage) -> dict[str, float]:
    with stage.daemon("empty"):
        order = stage.order(
            gather,
            connects_itself=True,
            clients=stage.count(_CLIENTS),
            commits=stage.count(20),
        )
        (figures,) = stage.perform(order).results
    return dict(figures)


CROWDS = (
    Measure(
        "crowd",
        _play,
        (
            Figure("connect", f"{_CLIENTS} clients, connect all", "ms", (at_most(1.0),)),
            Figure("connectcpu", "connect: server CPU per client", "us"),
            Figure("fanout", f"commit until {_CLIENTS} clients know", "ms", (at_most(0.7),)),
            Figure("fanoutcpu", "commit: server CPU", "ms"),
            Figure("idle", "server memory per idle client", "KiB", (at_most(1.0),)),
        ),
        frozenset({Needs.DAEMON, Needs.OWN_DAEMON}),
    ),
)
