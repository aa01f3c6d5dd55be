"""Either daemon ends and comes back, with or without a word."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import transaction
from persistent.mapping import PersistentMapping
from ZODB.POSException import POSKeyError
from ZODB.utils import p64, u64

import zeotwisted
from zeotwisted.exceptions import ClientDisconnected

from .site import Daemon

TIMEOUT = 30


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def write(address: Any, **values: Any) -> bytes:
    """Commit values of the root object; return the last transaction."""
    database = zeotwisted.DB(address)
    with database.transaction() as connection:
        connection.root().update(values)
    last = database.lastTransaction()
    database.close()
    return last


def read(database: Any, name: str) -> Any:
    with database.transaction() as connection:
        return connection.root()[name]


def test_changes_while_the_upstream_daemon_was_away_reach_the_applications(
    upstream: Daemon, host: Daemon
) -> None:
    write(upstream.address, value=1)
    with closing(zeotwisted.DB(host.address)) as database:
        assert read(database, "value") == 1
        upstream.kill()
        upstream.start()
        tid = write(upstream.address, value=2)
        until(lambda: database.lastTransaction() >= tid)
        assert read(database, "value") == 2


def test_an_earlier_state_is_right_after_an_outage(upstream: Daemon, host: Daemon) -> None:
    """What the host's daemon was told at once are several transactions."""
    write(upstream.address, value=1, other=PersistentMapping())
    with closing(zeotwisted.client(host.address)) as storage:
        old = storage.load(p64(0))[1]
        address = upstream.address
        upstream.kill()
        upstream.start("127.0.0.1:0")
        first = write(upstream.address, value=2)
        second = write(upstream.address, value=3)
        upstream.stop()
        upstream.start("{}:{}".format(*address))
        until(lambda: storage.lastTransaction() >= second)
        assert storage.loadBefore(p64(0), p64(u64(first) + 1))[1:] == (first, second)
        assert storage.loadBefore(p64(0), first)[1:] == (old, first)


def test_an_outage_is_an_error_in_time_for_all(upstream: Daemon, host: Daemon) -> None:
    """Those who wait do not wait for one another."""
    write(upstream.address, **{f"key{number}": PersistentMapping() for number in range(40)})
    with closing(zeotwisted.client(host.address, wait_timeout=2)) as storage:
        storage.load(p64(0))
        upstream.kill()
        errors: list[type[BaseException]] = []

        def load(number: int) -> None:
            try:
                storage.load(p64(number))
            except Exception as error:
                errors.append(type(error))

        begin = time.monotonic()
        threads = [threading.Thread(target=load, args=(number,)) for number in range(1, 41)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert time.monotonic() - begin < 10
        assert set(errors) == {ClientDisconnected} and len(errors) == 40
        # What the application has itself can be read all the same.
        storage.load(p64(0))
        upstream.start()
        until(storage.is_connected)
        storage.load(p64(1))


def test_commits_during_an_outage_fail_in_time(upstream: Daemon, host: Daemon) -> None:
    write(upstream.address, value=1)
    with closing(zeotwisted.DB(host.address, wait_timeout=2)) as database:
        read(database, "value")
        upstream.kill()
        begin = time.monotonic()
        with pytest.raises(ClientDisconnected), database.transaction() as connection:
            connection.root()["value"] = 2
        assert time.monotonic() - begin < 10
        upstream.start()
        until(database.storage.is_connected)
        with database.transaction() as connection:
            connection.root()["value"] = 3
        assert read(database, "value") == 3


@pytest.mark.parametrize("end", [Daemon.kill, Daemon.stop])
def test_applications_survive_a_restart_of_the_host_daemon(
    upstream: Daemon, host: Daemon, end: Callable[[Daemon], None]
) -> None:
    write(upstream.address, value=1, keep=PersistentMapping(value=1))
    with closing(zeotwisted.DB(host.address)) as database:
        with database.transaction() as connection:
            kept = connection.root()["keep"]
            assert kept["value"] == 1
            oid = kept._p_oid
        end(host)
        tid = write(upstream.address, value=2)
        host.start()
        until(lambda: database.lastTransaction() >= tid)
        assert read(database, "value") == 2
        storage = database.storage
        # The cache was not dropped.
        assert storage.statistics()["verified_changes"] == 1
        loads = storage.statistics()["loads"]
        storage.load(oid)
        assert storage.statistics()["loads"] == loads


def test_a_daemon_that_starts_without_the_upstream_says_so(
    upstream: Daemon, host: Daemon, tmp_path: Any
) -> None:
    host.stop()
    upstream.stop()
    with pytest.raises(Exception, match="cannot open storage '1'"):
        Daemon(
            "%import zeotwisted\n<clientstorage 1>\nwait-timeout 1\n"
            f"server 127.0.0.1:{upstream.address[1]}\n</clientstorage>",
            str(tmp_path / "other.sock"),
        )


def test_a_long_outage_during_a_commit_does_not_end_the_host_daemon(
    upstream: Daemon, tmp_path: Any
) -> None:
    """It does not know whether it is committed, and the storage is in order all the same."""
    from . import site

    folder = tmp_path / "short"
    folder.mkdir()
    write(upstream.address, value=0)
    host = site.host(folder, upstream.address, "wait-timeout 1")
    try:
        with closing(zeotwisted.DB(host.address, wait_timeout=20)) as database:
            read(database, "value")
            manager = transaction.TransactionManager()
            connection = database.open(manager)
            connection.root()["value"] = 1
            upstream_is_dead = threading.Event()

            def kill() -> None:
                upstream.kill()
                upstream_is_dead.set()

            # The upstream daemon does not answer to the finish.
            storage = database.storage
            finish = storage.tpc_finish

            def stopped(*args: Any) -> Any:
                upstream.process.send_signal(19)
                threading.Timer(1, kill).start()
                return finish(*args)

            storage.tpc_finish = stopped
            done: list[Any] = []

            def commit() -> None:
                try:
                    manager.commit()
                    done.append("committed")
                except Exception as error:
                    done.append(error)

            thread = threading.Thread(target=commit)
            thread.start()
            assert upstream_is_dead.wait(TIMEOUT)
            # Longer than the host's daemon tries to find out.
            time.sleep(2.5)
            upstream.start()
            thread.join(TIMEOUT)
            storage.tpc_finish = finish
            assert len(done) == 1
            assert done[0] == "committed" or isinstance(done[0], ClientDisconnected)
            until(storage.is_connected)
            manager.abort()
            connection.sync()
            assert connection.root()["value"] == (done[0] == "committed")
            connection.root()["value"] = 7
            manager.commit()
            connection.close()
    finally:
        host.stop()


def test_no_such_object(host: Daemon) -> None:
    with closing(zeotwisted.client(host.address)) as storage, pytest.raises(POSKeyError):
        storage.load(p64(12345))
