"""Commits with blobs whose daemon or backend ends: a blob is there if and only if its record is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from transaction.interfaces import TransientError
from ZODB.blob import Blob
from ZODB.utils import u64

from tests.postgresql.server import PostgreSQLServer

from .cluster import Cluster, cluster, until
from .conftest import Application
from .interceptor import Interceptor, When
from .steps import BLOB, FINISH, MARK, STORE, VOTE, Step, happening

Make = Callable[..., Application]

COMMITTED, ABSENT = "committed", "absent"

FIRST, SECOND = b"first " * 50_000, b"second " * 60_000


_SIZES = """
SELECT sum(length(data)) FROM blob_chunk
JOIN object_state USING (zoid, tid)
JOIN pg_largeobject ON loid = chunk
WHERE zoid = %s GROUP BY tid ORDER BY tid
"""
_LEFT = (
    "SELECT count(*) FROM pg_largeobject_metadata WHERE oid NOT IN (SELECT chunk FROM blob_chunk)"
)


class World(NamedTuple):
    """Two daemons over one database; the statements of the first one are looked at.

    :ivar one: is a client of the first daemon, and knows the second one.
    :ivar new: makes one more client.
    """

    running: Cluster
    interceptor: Interceptor
    one: Application
    new: Callable[[Any], Application]

    def commit(self, content: bytes) -> str:
        """Change the blob, and another object; return what the client is told."""
        self.one.manager.begin()
        try:
            root = self.one.connection.root()
            with root["blob"].open("w") as file:
                file.write(content)
            root["length"] = len(content)
            self.one.manager.commit()
        except TransientError:
            self.one.manager.abort()
            return ABSENT
        return COMMITTED

    def check(self, *contents: bytes) -> None:
        """Check what clients of both daemons read, and what is in the database.

        :param contents: of all revisions of the blob, oldest first.
        """
        expected = contents[-1]
        for address in self.running.addresses:
            with closing(self.new(address)) as other:
                assert read(other) == expected
        until(lambda: read(self.one) == expected)
        # Its contents are in the database once, and whole; and nothing that belongs to nothing.
        kept = contents if self.running.keep_history else contents[-1:]
        sizes = self.running.execute(_SIZES, u64(self.one.connection.root()["blob"]._p_oid))
        assert [int(size) for (size,) in sizes] == [len(content) for content in kept]
        assert self.running.execute(_LEFT) == [(0,)]

    def wait_for_backends(self) -> None:
        """Wait for the end of the transactions of daemons that are gone."""
        until(
            lambda: (
                self.running.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
                == [(0,)]
            )
        )


def read(client: Application) -> bytes:
    """Return what is in the blob; check that all that was committed with it is there."""
    client.manager.begin()
    root = client.connection.root()
    with root["blob"].open("r") as file:
        content: bytes = file.read()
    assert root["length"] == len(content)
    return content


@pytest.fixture(scope="module", params=[True, False], ids=["history", "history-free"])
def served(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    own_server: PostgreSQLServer,
) -> Iterator[tuple[Cluster, Interceptor]]:
    directory: Path = tmp_path_factory.mktemp("blobs")
    storage = f"blob-dir {directory}/NAME\n shared-blob-dir false"
    made = cluster(directory, own_server, keep_history=request.param, storage=storage)
    interceptor = Interceptor(own_server.port, own_server.dsn())
    with closing(interceptor), made as running:
        first = running.daemons[0]
        first.relay.lead_to(interceptor.port)
        until(lambda: "can be read again" in first.log)
        yield running, interceptor


@pytest.fixture
def world(served: tuple[Cluster, Interceptor], tmp_path: Path, application: Make) -> World:
    running, interceptor = served
    folders = iter(range(1000))

    def new(addresses: Any) -> Application:
        return application(addresses, blob_dir=str(tmp_path / f"client{next(folders)}"))

    one = new(running.addresses[0])
    one.manager.begin()
    one.connection.root().update(blob=Blob(FIRST), length=len(FIRST))
    one.manager.commit()
    one.storage.new_addr(running.addresses)
    return World(running, interceptor, one, new)


CASES = [
    (STORE, When.BEFORE, ABSENT),
    (BLOB, When.BEFORE, ABSENT),
    (BLOB, When.AFTER, ABSENT),
    (VOTE, When.BEFORE, ABSENT),
    (VOTE, When.AFTER, ABSENT),
    (MARK, When.BEFORE, ABSENT),
    (MARK, When.AFTER, ABSENT),
    (FINISH, When.BEFORE, ABSENT),
    (FINISH, When.AFTER, COMMITTED),
]


def named(value: Any) -> str:
    return str(getattr(value, "text", getattr(value, "value", value)))


@pytest.mark.parametrize(
    ("step", "when", "expected"), [*CASES, (FINISH, When.WITHIN, ABSENT)], ids=named
)
def test_a_backend_ends(world: World, step: Step, when: When, expected: str) -> None:
    told = happening(world.interceptor, step, when, world.running.dsn, lambda: world.commit(SECOND))
    assert told == expected
    revisions = [FIRST, SECOND] if expected == COMMITTED else [FIRST]
    world.check(*revisions)
    assert world.commit(SECOND) == COMMITTED
    world.check(*revisions, SECOND)


@pytest.mark.parametrize(
    ("step", "when", "expected"), [*CASES, (FINISH, When.WITHIN, COMMITTED)], ids=named
)
def test_a_daemon_is_killed(world: World, step: Step, when: When, expected: str) -> None:
    first = world.running.daemons[0]

    def asks(told: Future[str]) -> None:
        """The backend has its statement, and goes on without the daemon when it has the lock."""
        if when is When.WITHIN:
            question = "SELECT 1 FROM pg_locks WHERE mode = 'ShareLock' AND NOT granted"
            until(lambda: told.done() or world.running.execute(question))
            assert not told.done()

    told = happening(
        world.interceptor,
        step,
        when,
        world.running.dsn,
        lambda: world.commit(SECOND),
        lambda pid: first.kill(),
        asks,
    )
    assert told == expected
    world.wait_for_backends()
    first.start()
    revisions = [FIRST, SECOND] if expected == COMMITTED else [FIRST]
    world.check(*revisions)
    assert world.commit(SECOND) == COMMITTED
    world.check(*revisions, SECOND)
