"""The pool of instances never shows what is older than what clients have been told."""

from __future__ import annotations

from typing import Any

import pytest
from ZODB.POSException import POSKeyError
from ZODB.utils import p64, z64

from zeotwisted.storageserver.engine import instances
from zeotwisted.storageserver.engine.instances import Instances


class Database:
    """The storage that makes instances.

    :ivar last: its last transaction.
    :ivar made: the instances.
    """

    def __init__(self) -> None:
        self.last = p64(1)
        self.made: list[Instance] = []

    def new_instance(self) -> Instance:
        self.made.append(Instance(self))
        return self.made[-1]


class Instance:
    """It sees what there was at its last poll.

    :ivar view: the last transaction that it sees; None if it has no view.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.view: bytes | None = None
        self.fails = False
        self.released = False

    def sync(self, force: bool) -> None:
        self.view = None

    def poll_invalidations(self) -> dict[bytes, int]:
        if self.fails:
            raise OSError("no connection")
        self.view = self._database.last
        return {}

    def lastTransaction(self) -> bytes:
        return self.view or z64

    def release(self) -> None:
        assert not self.released
        self.released = True


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def pool(database: Database) -> Instances:
    pool = Instances(database)
    pool.published = p64(1)
    return pool


def test_never_older_than_what_is_published(database: Database, pool: Instances) -> None:
    with pool.fresh() as instance:
        assert instance.view == p64(1)
    database.last = p64(3)
    # Nobody has been told of it: the view will do.
    with pool.fresh() as instance:
        assert instance.view == p64(1)
    pool.published = p64(2)
    with pool.fresh() as instance:
        assert instance.view == p64(3)
    assert len(database.made) == 1


def test_what_is_published_need_not_be_counted(database: Database, pool: Instances) -> None:
    """A view is used again, though the last transaction has changed nothing."""
    pool.published = p64(2)
    with pool.fresh():
        pass
    database.last = p64(3)
    with pool.fresh() as instance:
        assert instance.view == p64(1)


def test_one_for_each_at_the_same_time(database: Database, pool: Instances) -> None:
    with pool.fresh() as first, pool.fresh() as second:
        assert first is not second
    with pool.fresh(), pool.fresh():
        pass
    assert len(database.made) == 2


def test_an_answer_that_is_an_exception(database: Database, pool: Instances) -> None:
    with pytest.raises(POSKeyError), pool.fresh():
        raise POSKeyError(b"there is none")
    with pool.fresh() as instance:
        assert not instance.released
    assert len(database.made) == 1


def test_a_failing_instance_is_dropped(database: Database, pool: Instances) -> None:
    with pytest.raises(OSError), pool.fresh():
        raise OSError("no connection")
    assert database.made[0].released
    with pool.fresh() as instance:
        assert instance is database.made[1]


def test_an_instance_that_cannot_look_is_dropped(database: Database, pool: Instances) -> None:
    with pool.fresh() as instance:
        instance.fails = True
    pool.published = p64(2)
    with pytest.raises(OSError), pool.fresh():
        pass
    assert database.made[0].released
    with pool.fresh() as instance:
        assert instance is database.made[1]


def test_leases(database: Database, pool: Instances) -> None:
    first = pool.lease()
    pool.give_back(first)
    database.last = p64(2)
    # Its transaction has moved its view, so it looks again.
    second = pool.lease()
    assert second is first and second.view == p64(2)
    pool.give_back(second, is_sound=False)
    assert second.released
    assert pool.lease() is not second


def test_rest(database: Database, pool: Instances, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle instances keep no view: the database could not clean up what it shows."""
    now = 100.0
    monkeypatch.setattr(instances, "monotonic", lambda: now)
    with pool.fresh() as idle, pool.fresh() as busy:
        pass
    now += 0.9
    with pool.fresh() as used:
        pass
    busy, idle = used, next(each for each in database.made if each is not used)
    pool.rest()
    assert idle.view is not None
    now += 0.2
    pool.rest()
    assert idle.view is None and busy.view is not None
    # It comes last, and looks again.
    database.last = p64(2)
    with pool.fresh() as first, pool.fresh() as second:
        assert (first, second) == (busy, idle)
        assert first.view == p64(1) and second.view == p64(2)


def test_the_end(database: Database, pool: Instances) -> None:
    leased = pool.lease()
    with pool.fresh() as free:
        pass
    pool.close()
    assert free.released and not leased.released
    pool.give_back(leased)
    assert leased.released


def test_each_instance_is_prepared(database: Database, pool: Instances) -> None:
    prepared: list[Any] = []
    pool.prepare(prepared.append)
    with pool.fresh(), pool.fresh():
        pool.make()
    assert prepared == database.made
