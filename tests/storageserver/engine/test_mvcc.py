"""What the daemon tells of a database that is asked for what has changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

import pytest
from ZODB.config import storageFromString
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import POSError
from ZODB.utils import p64, z64

from tests.contract.backends import relstorage, relstorage_without_history
from zeotwisted.storageserver.engine import OwnCommit
from zeotwisted.storageserver.engine.mvcc import Mvcc

TIMEOUT = 20


class Told:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: Queue[tuple[Any, ...]] = Queue()

    def committed(self, tid: bytes, oids: Any, own: OwnCommit | None) -> None:
        self.events.put((tid, sorted(oids), own))

    def lost_track(self) -> None:
        self.events.put(("lost track",))

    def cut_off(self, reason: str) -> None:
        self.events.put(("cut off", reason))

    def restored(self) -> None:
        self.events.put(("restored",))

    def next(self) -> tuple[Any, ...]:
        return self.events.get(timeout=TIMEOUT)


def store(storage: Any, records: dict[bytes, bytes]) -> Any:
    """Begin a transaction, and vote; return it."""
    transaction = TransactionMetaData()
    storage.tpc_begin(transaction)
    for oid, serial in records.items():
        storage.store(oid, serial, b"a record", "", transaction)
    storage.tpc_vote(transaction)
    return transaction


class World(NamedTuple):
    """A database, an engine that serves it, and who is told of its news."""

    other: Any
    engine: Mvcc
    told: Told

    def commit(self, records: dict[bytes, bytes]) -> OwnCommit:
        """Commit through the engine."""
        storage = self.engine.lending.lease()
        own = OwnCommit("client", list(records), None)
        self.engine.finish(storage, store(storage, records), own)
        self.engine.lending.give_back(storage)
        return own

    def conflict(self, oid: bytes) -> None:
        """Try to commit a change of an old revision."""
        storage = self.engine.lending.lease()
        transaction = TransactionMetaData()
        storage.tpc_begin(transaction)
        with pytest.raises(POSError):
            storage.store(oid, p64(1), b"a record", "", transaction)
            storage.tpc_vote(transaction)
        storage.tpc_abort(transaction)
        self.engine.lending.give_back(storage)

    def commit_elsewhere(self, records: dict[bytes, bytes]) -> bytes:
        """Commit as another process does."""
        tid: bytes = self.other.tpc_finish(store(self.other, records))
        return tid

    def until_all_is_told(self) -> None:
        done: Queue[None] = Queue()
        self.engine.refresh(lambda: done.put(None))
        done.get(timeout=TIMEOUT)


@pytest.fixture(params=[relstorage, relstorage_without_history])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    pytest.importorskip("relstorage")
    served, other = (storageFromString(request.param(tmp_path)) for _ in range(2))
    told = Told()
    engine = Mvcc("1", served)
    engine.start(told)
    yield World(other, engine, told)
    engine.stop()
    other.close()
    served.close()


A, B = p64(1), p64(2)


def test_transactions_that_change_nothing(world: World) -> None:
    """Storages do not count them, and nobody is to verify a cache for that."""
    seen = z64
    for records in ({}, {}, {A: z64}, {}, {}, {B: z64}):
        own = world.commit(records)
        tid, oids, told = world.told.next()
        assert (oids, told) == (sorted(records), own)
        assert tid > seen
        seen = tid
        assert world.engine.storage.lastTransaction() == tid
        world.until_all_is_told()
    assert world.told.events.empty()


def test_conflicts(world: World) -> None:
    """RelStorage forgets what has changed if there is one, and keeps no history."""
    world.commit({A: z64})
    tid, _, _ = world.told.next()
    world.commit({A: tid})
    world.told.next()
    for _ in range(3):
        world.conflict(A)
        world.until_all_is_told()
    assert world.told.events.empty()
    # What has changed meanwhile is told all the same.
    world.conflict(A)
    tid = world.commit_elsewhere({B: z64})
    assert world.told.next() == (tid, [B], None)


def test_first_transactions_of_a_database(world: World) -> None:
    tid = world.commit_elsewhere({A: z64})
    assert world.told.next() == (tid, [A], None)
    tid = world.commit_elsewhere({B: z64})
    assert world.told.next() == (tid, [B], None)


class Record(NamedTuple):
    oid: bytes


class Transaction(NamedTuple):
    tid: bytes
    oids: list[bytes]

    def __iter__(self) -> Iterator[Any]:
        return map(Record, self.oids)


class Forgetful:
    """An `IMVCCStorage` without history; a test says what each of its polls returns.

    :ivar committed: the transactions.
    :ivar polls: what the next polls return, and how many transactions are seen then, and the last
        of how many it tells.
    """

    def __init__(self) -> None:
        self.committed = [Transaction(p64(1), [A])]
        self.polls: list[tuple[Any, int, int]] = []
        self._seen = self._said = 1

    def new_instance(self) -> Any:
        return self

    def sync(self, force: bool) -> None: ...

    def release(self) -> None: ...

    def poll_invalidations(self) -> Any:
        if not self.polls:
            return {}
        changed, self._seen, self._said = self.polls.pop(0)
        return changed

    def lastTransaction(self) -> bytes:
        return self.committed[self._said - 1].tid if self._said else z64

    def iterator(self, start: bytes, stop: bytes) -> Iterator[Transaction]:
        return (each for each in self.committed[: self._seen] if start <= each.tid <= stop)

    def isReadOnly(self) -> bool:
        return False

    def getSize(self) -> int:
        return 0

    def __len__(self) -> int:
        return 0


@pytest.fixture
def forgetful() -> Iterator[tuple[Forgetful, Told]]:
    storage = Forgetful()
    engine = Mvcc("1", storage)
    told = Told()
    engine.start(told)
    yield storage, told
    engine.stop()
    assert told.events.empty()


def test_what_is_not_known_is_read_as_one_transaction(
    forgetful: tuple[Forgetful, Told],
) -> None:
    """Without history, an object that both have changed is in the last one only."""
    storage, told = forgetful
    storage.committed += [Transaction(p64(2), [A]), Transaction(p64(3), [B])]
    storage.polls = [(None, 3, 3)]
    assert told.next() == (p64(3), [A, B], None)


def test_a_view_that_is_older_than_it_says(forgetful: tuple[Forgetful, Told]) -> None:
    """An instance of RelStorage that has forgotten all takes over what another one has seen."""
    storage, told = forgetful
    storage.committed += [Transaction(p64(2), [A]), Transaction(p64(3), [B])]
    storage.polls = [(None, 2, 3), ({}, 3, 3)]
    assert told.next() == (p64(3), [A, B], None)


def test_back_in_time(forgetful: tuple[Forgetful, Told]) -> None:
    storage, told = forgetful
    storage.polls = [({}, 0, 0)]
    assert told.next() == ("lost track",)
