"""Real clients of real servers, in threads: what they record is right, unless something is lost."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import ZODB
from persistent.mapping import PersistentMapping
from transaction import TransactionManager
from transaction.interfaces import TransientError
from ZODB.FileStorage import FileStorage
from ZODB.utils import maxtid, z64

import zeotwisted

from .checker import Violation, check
from .database import transactions_of
from .history import History
from .recording import Recording

COUNTERS = 6
COMMITS = 25


def check_threads(
    open_storage: Callable[[], Any], clients: int, path: Path, end: Callable[[], Any]
) -> list[Violation]:
    """Let two threads with each storage change some counters; return what is wrong."""
    history = History()
    databases: list[Any] = []
    for number in range(clients):
        databases += [ZODB.DB(Recording(open_storage(), history, f"client {number}"))]
        if number == 0:
            with databases[0].transaction() as connection:
                for counter in range(COUNTERS):
                    connection.root()[counter] = PersistentMapping(value=0)
    failures: list[BaseException] = []
    threads = [
        threading.Thread(target=_count, args=(database, random.Random(seed), failures))
        for seed, database in enumerate(databases * 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in databases:
        database.close()
    end()
    assert not failures
    # There was something to see.
    kinds = [type(event.what).__name__ for event in history.events]
    assert kinds.count("Finished") > len(threads) * COMMITS
    assert kinds.count("Read") > COMMITS
    with closing(FileStorage(str(path), read_only=True)) as storage:
        return check(history, transactions_of(storage))


def _count(database: Any, chance: random.Random, failures: list[BaseException]) -> None:
    manager = TransactionManager()
    connection = database.open(manager)
    commits = 0
    try:
        while commits < COMMITS:
            try:
                manager.begin()
                root = connection.root()
                if not chance.randrange(4):
                    connection.cacheMinimize()
                for counter in chance.sample(range(COUNTERS), 2):
                    root[counter]["value"] += 1
                manager.commit()
                commits += 1
            except TransientError:
                manager.abort()
    except BaseException as error:
        failures.append(error)
    finally:
        manager.abort()
        connection.close()


@contextmanager
def serving(package: str, path: Path) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Yield the address of a server, and a function that ends it."""
    address, stop = import_module(package).server(path=str(path), threaded=False)
    stops = [stop]

    def end() -> None:
        while stops:
            stops.pop()()

    try:
        yield address, end
    finally:
        end()


@pytest.mark.parametrize("server", ["zeotwisted", "ZEO"])
@pytest.mark.parametrize("client", ["zeotwisted", "ZEO"])
def test_clients_in_threads(tmp_path: Path, client: str, server: str) -> None:
    path = tmp_path / "Data.fs"
    with serving(server, path) as (address, end):
        open_storage = partial(import_module(client).client, address)
        assert check_threads(open_storage, 2, path, end) == []


def test_a_storage_without_a_network(tmp_path: Path) -> None:
    path = tmp_path / "Data.fs"
    assert check_threads(partial(FileStorage, str(path)), 1, path, lambda: None) == []


class Losing:
    """A storage between the network and the recording that loses something."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def __len__(self) -> int:
        return len(self._storage)


class LosingOids(Losing):
    """Loses an object of each invalidation."""

    def registerDB(self, db: Any) -> None:
        invalidate = db.invalidate
        db.invalidate = lambda tid, oids: invalidate(tid, sorted(oids)[1:])
        self._storage.registerDB(db)


class LosingStores(Losing):
    """Stores other data than it was given, now and then."""

    count = 0

    def store(self, oid: bytes, serial: bytes, data: bytes, version: str, txn: Any) -> Any:
        self.count += 1
        if self.count % 20 == 0:
            data = self._storage.loadBefore(oid, maxtid)[0]
        return self._storage.store(oid, serial, data, version, txn)


class LosingCommits(Losing):
    """Says that it has committed, and has not, once."""

    count = 0

    def tpc_finish(self, txn: Any, func: Callable[[bytes], Any]) -> bytes:
        self.count += 1
        if self.count != 20:
            tid: bytes = self._storage.tpc_finish(txn, func)
            return tid
        self._storage.tpc_abort(txn)
        tid = self._storage.lastTransaction()
        func(tid)
        return tid


class LosingTime(Losing):
    """Reads the revision before the one that is asked for, now and then, but not of the root."""

    count = 0

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        self.count += 1
        found = self._storage.loadBefore(oid, tid)
        if self.count % 20 == 0 and found is not None and oid != z64:
            return self._storage.loadBefore(oid, found[1]) or found
        return found


@pytest.mark.parametrize(
    ("losing", "rule"),
    [
        (LosingOids, "invalidations"),
        (LosingStores, "contents"),
        (LosingCommits, "outcomes"),
        (LosingTime, "reads"),
    ],
)
def test_what_is_lost_is_found(tmp_path: Path, losing: Any, rule: str) -> None:
    path = tmp_path / "Data.fs"
    with serving("zeotwisted", path) as (address, end):
        found = check_threads(lambda: losing(zeotwisted.client(address)), 2, path, end)
        assert rule in {violation.rule for violation in found}
