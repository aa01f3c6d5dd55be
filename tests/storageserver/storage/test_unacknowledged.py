"""What clients see of a commit that waits for a standby: nothing, until a standby has it."""

from __future__ import annotations

from typing import Any

import pytest
from ZODB.MappingStorage import MappingStorage

from tests.ordering.puppets import LATEST, OID_A, OID_B, PuppetClient, Server


class Remote:
    """A storage whose loads run in threads, as it is not known to be fast."""

    def __init__(self) -> None:
        self._storage = MappingStorage()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def __len__(self) -> int:
        return len(self._storage)


class Scene:
    """A server with one revision of an object, and commits that wait for a standby."""

    def __init__(self, storage: Any, cached: bool) -> None:
        size = 2**20 if cached else 0
        self.server = Server(storage, synchronous_standby=10.0, record_cache_bytes=size)
        self.writer, self.reader = self.server.client(), self.server.client()
        self.standby = self.server.client()
        self.first = self.writer.commit(1, OID_A)
        self.old = b"data of 1", self.first, None
        if cached:
            self.reader.ask("loadBefore", OID_A, LATEST)
        self.acknowledge()

    def acknowledge(self) -> None:
        self.standby.ask("standby_has", self.server.storage.lastTransaction())

    def commit(self) -> int:
        """Begin a commit of two objects, and return its number; it waits for the standby."""
        self.writer.begin(2, OID_A, serial=self.first)
        self.writer.tell("storea", OID_B, b"\0" * 8, b"data of 2", 2)
        self.writer.ask("vote", 2)
        return self.writer.send("tpc_finish", 2)


@pytest.fixture(params=["fast", "slow"])
def storage(request: pytest.FixtureRequest) -> Any:
    return Remote() if request.param == "slow" else MappingStorage()


@pytest.fixture(params=[False, True], ids=["not cached", "cached"])
def scene(request: pytest.FixtureRequest, storage: Any) -> Scene:
    return Scene(storage, request.param)


def seen(client: PuppetClient, tid: bytes = LATEST) -> list[Any]:
    """Return the revisions of both objects, loaded in both ways."""
    alone = [client.ask("loadBefore", oid, tid) for oid in (OID_A, OID_B)]
    together = list(client.ask("loadManyBefore", [OID_A, OID_B], tid))
    while len(together) < 2:
        together += client.ask("loadManyBefore", [OID_A, OID_B][len(together) :], tid)
    assert together == alone
    return alone


def test_a_load_shows_what_a_standby_has(scene: Scene) -> None:
    scene.commit()
    assert scene.writer.received() == [], "it waits"
    assert seen(scene.reader) == [scene.old, None]
    # As ZODB's connections ask: before the transaction after the last one that they know.
    assert seen(scene.reader, scene.first[:-1] + b"\xff") == [scene.old, None]
    scene.acknowledge()
    ((_, _, second),) = scene.writer.received()
    assert seen(scene.reader) == [(b"data of 2", second, None)] * 2
    assert seen(scene.reader, second) == [(b"data of 1", scene.first, second), None]


def test_it_is_shown_when_nobody_waits_any_more(scene: Scene) -> None:
    scene.commit()
    scene.server.clock.advance(11)
    ((_, _, second),) = scene.writer.received()
    assert seen(scene.reader) == [(b"data of 2", second, None)] * 2


def test_a_load_in_a_thread_shows_nothing_either() -> None:
    """It began before the commit, and reads the storage after it."""
    scene = Scene(Remote(), False)
    scene.server.slow.immediate = False
    load = scene.reader.send("loadBefore", OID_A, LATEST)
    scene.commit()
    scene.server.slow.work()
    assert ("reply", load, scene.old) in scene.reader.received()


def test_a_load_in_a_thread_that_ends_after_the_publication() -> None:
    scene = Scene(Remote(), False)
    scene.commit()
    scene.server.slow.immediate = False
    load = scene.reader.send("loadBefore", OID_A, LATEST)
    scene.acknowledge()
    ((_, _, second),) = scene.writer.received()
    scene.server.slow.immediate = True
    scene.server.slow.work()
    answers = [event for event in scene.reader.received() if event[:2] == ("reply", load)]
    assert answers == [("reply", load, (b"data of 1", scene.first, second))]
