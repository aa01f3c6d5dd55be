"""Warm starts over the wire: a client with an empty cache begins with what others use."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import maxtid, p64, z64

from .support import Script, Server, World, store, wait_until

#: What is used, and what there is.
USED = [p64(number) for number in range(1, 201)]
COUNT = 400


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "zeotwisted.client")
    return caplog


def fill(world: World, server: Server) -> None:
    writer = world.client(server.address, warm_start=False)
    txn = TransactionMetaData()
    writer.tpc_begin(txn)
    for number in range(1, COUNT + 1):
        writer.store(p64(number), z64, b"record %d" % number, "", txn)
    writer.tpc_vote(txn)
    writer.tpc_finish(txn)


def use(world: World, address: Any, **options: Any) -> Any:
    """Return a client that has used some of the records."""
    storage = world.client(address, read_ahead=False, **options)
    for oid in USED:
        storage.load(oid)
    return storage


def brought(storage: Any) -> int:
    count: int = storage.statistics()["warm_records"]
    return count


def is_warm(storage: Any) -> None:
    wait_until("it has brought in all", lambda: brought(storage) == len(USED))


@pytest.fixture
def server(world: World) -> Server:
    server = world.server()
    fill(world, server)
    return server


@pytest.mark.parametrize("options", [{}, {"read_only": True}, {"read_ahead": False}])
def test_a_new_client_begins_with_what_others_use(
    world: World, server: Server, log: pytest.LogCaptureFixture, options: dict[str, Any]
) -> None:
    use(world, server.address, client_label="zope")
    new = world.client(server.address, client_label="zope", name="new", **options)
    is_warm(new)
    before = new.statistics()
    for number, oid in enumerate(USED, 1):
        assert new.load(oid)[0] == b"record %d" % number
    after = new.statistics()
    assert after["loads"] == before["loads"] == 0
    assert after["cache_hits"] - before["cache_hits"] == len(USED)
    # What it has brought in was no miss.
    assert after["cache_misses"] == 0
    line = wait_until("it says so", lambda: [each for each in log.messages if "brought" in each])
    size = after["warm_bytes"]
    assert line[0].startswith(
        f"new: brought 200 records ({size} bytes) that other clients with the label 'zope' use"
    )


@pytest.mark.parametrize(
    ("first", "second", "is_brought"),
    [
        ({}, {}, True),
        ({"client_label": "a"}, {}, False),
        ({"client_label": "a"}, {"client_label": "b"}, False),
        ({"client_label": "a"}, {"client_label": "b", "warm_start": "a"}, True),
        ({"warm_start": "g"}, {"warm_start": "g", "client_label": "b"}, True),
        ({"warm_start": False}, {}, True),
        ({}, {"warm_start": False}, False),
    ],
)
def test_groups(
    world: World,
    server: Server,
    first: dict[str, Any],
    second: dict[str, Any],
    is_brought: bool,
) -> None:
    use(world, server.address, **first)
    new = world.client(server.address, **second)
    if is_brought:
        is_warm(new)
        return
    # Whatever it would ask for is answered before that.
    new.ping()
    new.load(p64(COUNT))
    assert brought(new) == 0


def test_a_cache_file_that_has_something_is_not_filled(
    world: World, server: Server, tmp_path: Path
) -> None:
    use(world, server.address)
    new = world.client(server.address, cache=str(tmp_path / "cache"))
    is_warm(new)
    new.close()
    again = world.client(server.address, cache=str(tmp_path / "cache"))
    assert again.load(USED[0])[0] == b"record 1"
    again.ping()
    assert (brought(again), again.statistics()["loads"]) == (0, 0)


def test_a_restart_of_the_daemon(world: World, server: Server) -> None:
    old = use(world, server.address)
    server.stop()
    server.start()
    wait_until("it is back", old.is_connected)
    # The new daemon knows nothing.
    new = world.client(server.address)
    assert new.load(USED[0])[0] == b"record 1"
    assert brought(new) == 0
    # Clients tell it what they use.
    for oid in USED:
        old.load(oid)
    telling = old._coherence.requested(z64, 1000)
    assert telling == (USED, None)
    old._link.protocol().oneway("used_oids", b"".join(telling[0]))
    old.ping()
    is_warm(world.client(server.address))


def test_a_connection_that_is_lost_meanwhile(world: World, server: Server) -> None:
    use(world, server.address)
    proxy = world.proxy(server)
    new = world.client(proxy.address, wait=False, warm_start=True)
    wait_until("it has begun", lambda: b"load_popular" in proxy.sent)
    proxy.drop()
    wait_until("it has brought in all", lambda: len(new._cache) == len(USED))
    # What came while the connection was lost is not counted.
    assert brought(new) <= len(USED)


def test_it_is_closed_meanwhile(
    world: World, server: Server, log: pytest.LogCaptureFixture
) -> None:
    use(world, server.address)
    proxy = world.proxy(server)
    new = world.client(proxy.address, warm_start=True)
    proxy.hold()
    new.close()
    proxy.release()
    assert [each for each in log.records if each.levelno >= logging.WARNING] == []


def test_loads_do_not_wait_for_it(world: World, server: Server) -> None:
    """While an answer is on its way, a load is answered."""
    use(world, server.address)
    new = world.client(server.address)
    for number in range(COUNT, 200, -1):
        assert new.load(p64(number))[0] == b"record %d" % number
    is_warm(new)
    assert new.statistics()["cache_evictions"] == 0


def test_records_that_change_meanwhile(world: World, server: Server) -> None:
    writer = use(world, server.address)
    serials = dict.fromkeys(USED[:20], writer.lastTransaction())
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for oid in serials:
                serials[oid] = store(writer, oid, b"change %d" % number, serials[oid])

    thread = threading.Thread(target=write)
    thread.start()
    new = [world.client(server.address) for _ in range(6)]
    for client in new:
        wait_until("it is warm", lambda client=client: brought(client) >= len(USED) - 20)  # type: ignore[misc]
    stop.set()
    thread.join()
    for client in new:
        client.ping()
        assert client.lastTransaction() == writer.lastTransaction()
        for oid in USED:
            cached = client._coherence.load_before(oid, maxtid)
            if cached is not None and cached[2] is None:
                assert cached[:2] == writer.load(oid)


@pytest.mark.parametrize(
    ("package", "options"), [("ZEO", ()), ("zeotwisted", ("protocol-limit 5",))]
)
def test_a_server_that_does_not_know_it(
    world: World, package: str, options: tuple[str, ...], log: pytest.LogCaptureFixture
) -> None:
    server = world.server(package, *options)
    fill(world, server)
    use(world, server.address)
    new = world.client(server.address)
    assert new.load(USED[0])[0] == b"record 1"
    new.ping()
    assert brought(new) == 0
    assert not [line for line in log.messages if "warm" in line or "brought" in line]


def test_after_a_fork(world: World, server: Server) -> None:
    use(world, server.address)
    script = Script(
        """
        from zeotwisted import ClientStorage
        storage = ClientStorage(ADDRESS, warm_start=True)
        while storage.statistics()["warm_records"] < 200:
            time.sleep(0.01)
        child = os.fork()
        if not child:
            storage.load(b"\\0" * 7 + b"\\1")
            while storage.statistics()["warm_records"] < 199:
                time.sleep(0.01)
            print("warm", flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        storage.close()
        """,
        server.address,
    )
    assert script.line() == "warm"
    script.succeed()
