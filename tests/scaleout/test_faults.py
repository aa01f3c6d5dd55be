"""What daemons do when their database fails: all is told right, and soon, or not at all."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from persistent.mapping import PersistentMapping
from transaction.interfaces import TransientError

import zeotwisted
from tests.postgresql.server import PostgreSQLServer
from zeotwisted.exceptions import ClientDisconnected

from .cluster import TIMEOUT, Cluster, Daemon, cluster, until
from .conftest import Application
from .relay import Way
from .test_rules import be_silent

Make = Callable[..., Application]

#: More clients than may vote at the same time.
PLACES = 20

#: How long (seconds) a daemon that gets no answer may say that it is current; and some more for a
#: busy machine.
SOON = 4.0 + 3.0


def again(function: Callable[[], object], seconds: float = 30.0) -> None:
    """Do it again as long as it fails in such a way that applications try again."""

    def done() -> bool:
        with suppress(TransientError):
            function()
            return True
        return False

    until(done, seconds)


def backends(running: Cluster, which: str = "%") -> list[int]:
    """Return the processes of the daemons' connections to the database.

    :param which: of which application; ``zeotwisted`` are not RelStorage's.
    """
    found = running.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE %s AND pid <> pg_backend_pid()",
        which,
    )
    return [pid for (pid,) in found]


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Have some processes hang for a while: no connection breaks, and nobody answers."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_a_daemon_that_is_cut_off_says_so(
    tmp_path: Path, own_server: PostgreSQLServer, application: Make
) -> None:
    with cluster(tmp_path, own_server) as running:
        first, _ = running.daemons
        bound, free = application([first.address]), application(running.addresses)
        bound.set("value", 1)
        first.relay.go(Way.SWALLOW)
        until(lambda: "is not served for now" in first.log, SOON)
        again(lambda: free.set("value", 2))
        assert not bound.storage.is_connected()
        first.relay.go(Way.PASS)
        until(lambda: "is served again" in first.log)
        until(bound.storage.is_connected)
        assert bound.get("value") == 2
        assert "Traceback" not in running.logs


def test_backends_that_hang(
    tmp_path: Path, own_server: PostgreSQLServer, application: Make
) -> None:
    """The system takes what is sent to them."""
    with cluster(tmp_path, own_server, daemons=1) as running:
        (daemon,) = running.daemons
        client = application(running.addresses)
        client.set("value", 1)
        with stopped(backends(running, "zeotwisted")):
            until(lambda: "is not served for now" in daemon.log, SOON)
            # It makes other connections.
            until(lambda: "is served again" in daemon.log)
            again(lambda: client.set("value", 2))
            again(lambda: application(running.addresses).get("value"))
            assert client.get("value") == 2


def test_commits_on_backends_that_hang(
    tmp_path: Path, own_server: PostgreSQLServer, application: Make
) -> None:
    """None of the daemon's threads waits for them for ever: there are as many as may vote."""
    with cluster(tmp_path, own_server, daemons=1) as running, ThreadPoolExecutor(PLACES) as pool:
        (daemon,) = running.daemons
        clients = [application(running.addresses) for _ in range(PLACES)]
        for number, client in enumerate(clients):
            again(lambda: client.set(f"box {number}", PersistentMapping()))  # noqa: B023

        def commit_all(value: int) -> None:
            """Commit at the same time, so that the daemon has connections for all."""
            commits = [
                pool.submit(again, lambda c=client, n=number: c.set("value", value, f"box {n}"))
                for number, client in enumerate(clients)
            ]
            for commit in commits:
                commit.result(TIMEOUT)

        for value in range(3):
            commit_all(value)
        with stopped(backends(running)):
            commit_all(3)
        assert "is served again" in daemon.log
        for number, client in enumerate(clients):
            assert client.get("value", f"box {number}") == 3


def test_the_stop_does_not_wait_for_a_database_that_hangs(
    tmp_path: Path, own_server: PostgreSQLServer, application: Make
) -> None:
    with cluster(tmp_path, own_server, daemons=1, options="drain-timeout 1") as running:
        (daemon,) = running.daemons
        application(running.addresses).set("value", 1)
        daemon.relay.go(Way.SWALLOW)
        assert daemon.stop() < 20


def test_the_first_commit_after_a_restart(
    tmp_path: Path, own_server: PostgreSQLServer, application: Make
) -> None:
    """No connection of before is used."""
    with cluster(tmp_path, own_server, daemons=1) as running:
        (daemon,) = running.daemons
        clients = [application(running.addresses) for _ in range(3)]
        change_in_turn(clients, 0)
        own_server.restart()
        until(lambda: "can be read again" in daemon.log)
        until(lambda: all(client.storage.is_connected() for client in clients))
        change_in_turn(clients, 10)


def change_in_turn(clients: Sequence[Application], start: int) -> None:
    """Have each client change what the one before has changed, and not before it is told."""
    clients[0].set("value", start)
    for before, client in enumerate(clients[1:], start):
        until(lambda client=client, before=before: client.get("value") == before)
        client.set("value", before + 1)


def test_what_was_lost_is_not_seen_any_more(
    tmp_path: Path, own_server: PostgreSQLServer, application: Make
) -> None:
    """A standby takes over that lacks the last transactions, and gets others."""
    with cluster(tmp_path, own_server) as running, own_server.standby() as standby:
        first, second = running.daemons
        one, other = application([first.address]), application([second.address])
        one.set("kept", 1)
        one.set("box", PersistentMapping())
        one.set("lost", 0, "box")
        (position,) = running.execute("SELECT pg_current_wal_lsn()")[0]
        until(lambda: _has(standby, running, position))
        standby.stop()
        one.set("lost", 1, "box")
        until(lambda: other.get("lost", "box") == 1)
        # A daemon that is started later does not know what the other one knew.
        second.kill()
        standby.follow_nobody()
        standby.start()
        standby.promote()
        for daemon in running.daemons:
            daemon.relay.lead_to(standby.port)
        until(lambda: "has lost track" in first.log)
        again(lambda: one.set("new", 1))
        second.start()
        for client in (one, other, application(running.addresses)):
            until(client.storage.is_connected)
            assert client.get("lost", "box") == 0
            assert client.get("kept") == client.get("new") == 1
        again(lambda: other.set("lost", 2, "box"))
        until(lambda: one.get("lost", "box") == 2)


def _has(standby: PostgreSQLServer, running: Cluster, position: str) -> bool:
    import psycopg

    name = dict(part.split("=") for part in running.dsn.split())["dbname"]
    with psycopg.connect(standby.dsn(name)) as connection:
        row = connection.execute("SELECT pg_last_wal_replay_lsn() >= %s", (position,)).fetchone()
    return bool(row and row[0])


def test_a_standby_in_the_place_of_the_database(
    tmp_path: Path, own_server: PostgreSQLServer, application: Make
) -> None:
    """It may be older, and takes no commits: it is not served as the database."""
    with cluster(tmp_path, own_server, daemons=1) as running, own_server.standby() as standby:
        (daemon,) = running.daemons
        client = application(running.addresses)
        client.set("value", 1)
        daemon.relay.lead_to(standby.port)
        until(lambda: "is not served for now" in daemon.log, SOON)
        assert "the server is a standby now" in daemon.log
        daemon.relay.lead_to(own_server.port)
        again(lambda: client.set("value", 2))
        assert application(running.addresses).get("value") == 2
        assert "has lost track" not in daemon.log


def test_a_daemon_on_a_standby(
    tmp_path: Path, own_server: PostgreSQLServer, application: Make
) -> None:
    """Readers see the database as it was a moment ago; writers are refused in one line."""
    with cluster(tmp_path, own_server, daemons=1) as running, own_server.standby() as standby:
        writer = application(running.addresses)
        writer.set("value", 1)
        name = dict(part.split("=") for part in running.dsn.split())["dbname"]
        replica = Daemon(tmp_path, "S", standby.dsn(name), True, storage="create-schema false")
        running.daemons.append(replica)
        replica.start()
        assert "it is served read-only" in replica.log
        reader = application([replica.address], read_only=True)
        for value in range(2, 6):
            writer.set("value", value)
            until(lambda expected=value: reader.get("value") == expected)
        with pytest.raises(ClientDisconnected, match="read-only"):
            zeotwisted.client([replica.address], wait_timeout=2)
        assert "Traceback" not in replica.log


def test_without_the_trigger(
    tmp_path: Path, own_server: PostgreSQLServer, application: Make
) -> None:
    """News come by the heartbeat, and an operator is told once."""
    with cluster(tmp_path, own_server) as running:
        one, other = (application([address]) for address in running.addresses)
        one.set("value", 0)
        running.execute('DROP TRIGGER zeotwisted_news ON "transaction"')
        for value in range(1, 4):
            one.set("value", value)
            assert until(lambda expected=value: other.get("value") == expected) < 3.0
        assert running.daemons[0].log.count("does not notify of commits any more") == 1


def test_without_any_notification(
    tmp_path: Path, own_server: PostgreSQLServer, application: Make
) -> None:
    with cluster(tmp_path, own_server) as running:
        one, other = (application([address]) for address in running.addresses)
        one.set("value", 0)
        be_silent(running)
        for value in range(1, 4):
            one.set("value", value)
            assert until(lambda expected=value: other.get("value") == expected) < 3.0
