"""Backends of PostgreSQL that end at a certain statement of a commit, of news, or of a load."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from persistent.mapping import PersistentMapping
from transaction.interfaces import TransientError

from tests.postgresql.server import PostgreSQLServer

from .cluster import Cluster, cluster, until
from .conftest import Application
from .interceptor import Interceptor, When
from .steps import FINISH, MARK, NEWS, STORE, VOTE, Step, happening

Make = Callable[..., Application]

COMMITTED, ABSENT = "committed", "absent"


class World(NamedTuple):
    """Two daemons over one database; the statements of the first one are looked at."""

    running: Cluster
    interceptor: Interceptor
    one: Application
    other: Application

    def commit(self, value: int) -> str:
        """Have a client of the first daemon change the value; return what it is told."""
        try:
            self.one.set("value", value)
        except TransientError:
            return ABSENT
        return COMMITTED

    def commit_with(self, step: Step, when: When, value: int) -> str:
        """Commit; the backend ends at a step of that."""
        return happening(self.interceptor, step, when, self.running.dsn, lambda: self.commit(value))

    def transactions(self) -> int:
        """Return how many there are; 0 if nobody knows."""
        if not self.running.keep_history:
            return 0
        ((count,),) = self.running.execute('SELECT count(*) FROM "transaction"')
        return int(count)

    def check(self, before: int, expected: int) -> None:
        """Check that everybody sees a value, and that commits go on."""
        assert self.one.get("value") == expected
        until(lambda: self.other.get("value") == expected)
        self.one.set("value", before + 10)
        until(lambda: self.other.get("value") == before + 10)
        self.other.set("value", before + 11)
        until(lambda: self.one.get("value") == before + 11)


@pytest.fixture(scope="module", params=[True, False], ids=["history", "history-free"])
def served(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    own_server: PostgreSQLServer,
) -> Iterator[tuple[Cluster, Interceptor]]:
    directory: Path = tmp_path_factory.mktemp("backends")
    interceptor = Interceptor(own_server.port, own_server.dsn())
    # Each load has to ask the database.
    running = cluster(
        directory, own_server, keep_history=request.param, options="record-cache-bytes 0"
    )
    with closing(interceptor), running as made:
        made.daemons[0].relay.lead_to(interceptor.port)
        until(lambda: "can be read again" in made.daemons[0].log)
        yield made, interceptor
        # RelStorage itself logs tracebacks of its failures.
        own = [line for line in made.logs.splitlines() if "[zeotwisted" in line]
        assert not [line for line in own if "#error" in line or "#critical" in line]
        assert "Unhandled" not in made.logs


@pytest.fixture
def world(served: tuple[Cluster, Interceptor], application: Make) -> World:
    running, interceptor = served
    one, other = (application([address]) for address in running.addresses)
    one.set("value", 0)
    until(lambda: other.get("value") == 0)
    return World(running, interceptor, one, other)


@pytest.mark.parametrize(
    ("step", "when", "expected"),
    [
        # The daemon does a vote again that has lost its connection.
        (STORE, When.BEFORE, COMMITTED),
        # RelStorage takes what fails here for a conflict.
        (VOTE, When.BEFORE, ABSENT),
        (VOTE, When.WITHIN, ABSENT),
        (VOTE, When.AFTER, ABSENT),
        (MARK, When.BEFORE, COMMITTED),
        (MARK, When.WITHIN, COMMITTED),
        (MARK, When.AFTER, COMMITTED),
        (FINISH, When.BEFORE, ABSENT),
        (FINISH, When.WITHIN, ABSENT),
        # The client asks for the outcome.
        (FINISH, When.AFTER, COMMITTED),
    ],
    ids=lambda value: getattr(value, "text", getattr(value, "value", value)),
)
def test_a_commit(world: World, step: Step, when: When, expected: str) -> None:
    before = world.transactions()
    assert world.commit_with(step, when, 1) == expected
    if world.running.keep_history:
        assert world.transactions() - before == (1 if expected == COMMITTED else 0)
    world.check(1, 1 if expected == COMMITTED else 0)


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
def test_the_question_for_news(world: World, when: When) -> None:
    """A committer waits for it, and so do the others."""
    assert world.commit_with(NEWS, when, 1) == COMMITTED
    world.check(1, 1)


def test_the_connection_that_listens(world: World) -> None:
    for value in range(1, 4):
        ended = world.running.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query = 'LISTEN zeotwisted'"
        )
        assert ended
        assert world.commit(value) == COMMITTED
        until(lambda expected=value: world.other.get("value") == expected)
    world.check(3, 3)


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
def test_a_load(world: World, when: When) -> None:
    world.other.set("box", PersistentMapping(value=1))
    until(lambda: world.one.get("box") is not None)
    trap = world.interceptor.set("load_one", when)
    assert world.one.get("value", "box") == 1
    assert trap.sprung.is_set()
    world.check(0, 0)
