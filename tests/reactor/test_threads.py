"""Many threads, many records, and what they leave at the server."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import transaction
from ZODB import DB
from ZODB.Connection import TransactionMetaData
from ZODB.utils import maxtid, p64, z64

from tests.clientstorage.support import InThread, Script, World, store, wait_until
from zeotwisted.clientstorage.records import prefetch
from zeotwisted.exceptions import ClientDisconnected


def _status(storage: Any) -> dict[str, Any]:
    return storage.server_status()


def test_fifty_threads(world: World) -> None:
    """Loads and commits on one storage, none of them lost."""
    storage = world.client(world.server(threaded=False).address)
    started = threading.Barrier(50)

    def work(number: int) -> None:
        started.wait(20)
        oid = p64(1000 + number)
        serial = z64
        for count in range(5):
            data = b"%d.%d" % (number, count)
            serial = store(storage, oid, data, serial)
            assert storage.load(oid) == (data, serial)
            assert storage.loadSerial(oid, serial) == data

    with ThreadPoolExecutor(50) as pool:
        for future in [pool.submit(work, number) for number in range(50)]:
            future.result(60)
    for number in range(50):
        assert storage.load(p64(1000 + number))[0] == b"%d.4" % number


def test_end_of_a_pool_of_threads(world: World) -> None:
    """A process ends while the threads of a pool still have a lot to do."""
    script = Script(
        """
from concurrent.futures import ThreadPoolExecutor
from ZODB.utils import z64
from zeotwisted import ClientStorage

storage = ClientStorage(ADDRESS)
pool = ThreadPoolExecutor(10)
for _ in range(200):
    pool.submit(storage.new_oid)
pool.shutdown(wait=False, cancel_futures=True)
print("done")
""",
        world.server(threaded=False).address,
    )
    assert script.succeed() == "done\n"


# Other clients' commits.


def test_server_sync(world: World) -> None:
    """Two processes see each other's commits, each with its next transaction.

    Our server has told everybody of a commit before it answers to it.
    """
    server = world.server(threaded=False)
    script = Script(
        """
import zeotwisted

db = zeotwisted.DB(ADDRESS, server_sync=True)
print("ready", flush=True)
for line in sys.stdin:
    with db.transaction() as connection:
        root = connection.root()
        root["count"] += 1
        count = root["count"]
    print(count, flush=True)
db.close()
""",
        server.address,
    )
    assert script.line() == "ready"
    db = DB(world.client(server.address, server_sync=True))
    world.callback(db.close)
    with db.transaction() as connection:
        connection.root()["count"] = 0
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    root = connection.root()
    for count in range(1, 40, 2):
        script.say()
        assert script.line() == str(count)
        manager.begin()
        assert root["count"] == count
        root["count"] += 1
        manager.commit()
    connection.close()
    assert script.succeed() == ""


def test_no_server_sync(world: World) -> None:
    """Unless it was asked for, the beginning of a transaction does not wait for the server."""
    server = world.server()
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    asking = world.client(proxy.address, server_sync=True)
    proxy.hold()
    storage.sync()
    call = InThread(asking.sync)
    assert proxy.held.wait(20)
    assert call.is_running
    proxy.release()
    call.result()


# Prefetching.


def _records(storage: Any, count: int) -> list[bytes]:
    oids = [p64(1 + number) for number in range(count)]
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for oid in oids:
        storage.store(oid, z64, b"data", "", txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    return oids


def _is_cached(storage: Any, oid: bytes) -> bool:
    return storage._coherence.load_before(oid, maxtid) is not None


def test_prefetch_a_lot(world: World, package: str) -> None:
    """From a generator, with some that are there already and some that do not exist."""
    server = world.server(package, threaded=False)
    oids = _records(world.client(server.address), 5000)
    storage = world.client(server.address, cache_size=100_000_000)
    storage.load(oids[7])
    most = 0

    def wanted() -> Any:
        yield p64(2**40)
        yield from oids
        yield p64(2**41)

    storage.prefetch(wanted(), maxtid)
    pending = storage._link.connection.ready._calls
    while not _is_cached(storage, oids[-1]):
        most = max(most, len(pending))
        # Others are not kept waiting by it.
        storage.getTid(oids[0])
    calls = 1 if package == "zeotwisted" else prefetch._RECORDS
    assert 0 < most <= prefetch._REQUESTS * calls + 1
    assert all(_is_cached(storage, oid) for oid in oids)


def test_prefetch_when_the_connection_is_lost(world: World) -> None:
    """The rest is given up, and whoever loads asks on his own."""
    server = world.server(threaded=False)
    oids = _records(world.client(server.address), 2000)
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    proxy.hold()
    storage.prefetch(oids, maxtid)
    assert proxy.held.wait(20)
    proxy.drop()
    proxy.release()
    wait_until("it is found again", lambda: _can_ping(storage))
    assert storage.load(oids[-1])[0] == b"data"
    assert not _is_cached(storage, oids[-2])


def _can_ping(storage: Any) -> bool:
    try:
        storage.ping()
    except ClientDisconnected:
        return False
    return True


def test_prefetch_nonsense(world: World) -> None:
    storage = world.client(world.server().address)
    storage.prefetch([], maxtid)
    storage.close()
    with pytest.raises(ClientDisconnected):
        storage.prefetch([z64], maxtid)


# Iterators.


class _Counting:
    """The iterators that a server keeps, in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from zeotwisted.storageserver.connections import iterators

        self._all: list[Any] = []
        original = iterators.Iterators.__init__

        def init(iterators: Any, storage: Any) -> None:
            original(iterators, storage)
            self._all.append(iterators)

        monkeypatch.setattr(iterators.Iterators, "__init__", init)

    def __call__(self) -> int:
        return sum(len(iterators._iterators) for iterators in self._all)


def _half_way(storage: Any) -> None:
    next(storage.iterator())


def _never_begun(storage: Any) -> None:
    storage.iterator()


def _within_a_transaction(storage: Any) -> None:
    next(iter(next(storage.iterator())))


def _before_its_records(storage: Any) -> None:
    iter(next(storage.iterator()))


def _at_its_end(storage: Any) -> None:
    for item in storage.iterator():
        list(item)


def _in_a_cycle(storage: Any) -> None:
    # Some at a time, since the garbage collector is slow.
    for _ in range(10):
        _make_a_cycle(storage)
    gc.collect()


def _make_a_cycle(storage: Any) -> None:
    cycle = [storage.iterator()]
    cycle.append(cycle)  # type: ignore[arg-type]
    next(cycle[0])


@pytest.mark.parametrize(
    "use",
    [_half_way, _never_begun, _within_a_transaction, _before_its_records, _at_its_end, _in_a_cycle],
    ids=lambda use: use.__name__.strip("_"),
)
def test_iterators_do_not_pile_up(world: World, monkeypatch: pytest.MonkeyPatch, use: Any) -> None:
    """The server forgets those that were dropped, with the next call that is made of it."""
    count = _Counting(monkeypatch)
    storage = world.client(world.server().address)
    serial = z64
    for number in range(3):
        serial = store(storage, p64(1), b"%d" % number, serial)
    with ThreadPoolExecutor(5) as pool:
        # More than the server would keep.
        uses = 30 if use is _in_a_cycle else 250
        for future in [pool.submit(use, storage) for _ in range(uses)]:
            future.result(60)
    # The last ones may have been dropped after the last call.
    gc.collect()
    storage.ping()
    # The server deals with iterators in threads.
    wait_until("all are forgotten", lambda: count() == 0)
