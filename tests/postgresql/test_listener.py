"""Notifications: they arrive, or it is said why not."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest

from tests.postgresql.server import PostgreSQLServer, missing_programs
from zeotwisted.postgresql import Deaf, Listener, Unreachable, connect


@pytest.fixture
def sender(dsn: str) -> Iterator[Any]:
    """A connection that notifies."""
    with closing(connect(dsn)) as sender:
        yield sender


@pytest.fixture
def listener(dsn: str) -> Iterator[Listener]:
    with closing(Listener(dsn)) as listener:
        yield listener


def notify(sender: Any) -> None:
    sender.execute("NOTIFY zeotwisted")


def test_a_notification_is_waited_for(listener: Listener, sender: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(listener.wait, 30.0)
        notify(sender)
        assert waiting.result()


def test_many_notifications_are_one(listener: Listener, sender: Any) -> None:
    for _ in range(10):
        notify(sender)
    # What a connection is told is in order: with the nonce, the others are here.
    listener.selftest()
    assert listener.wait(0)
    assert not listener.wait(0)


def test_one_that_came_before_the_wait_is_not_lost(listener: Listener, sender: Any) -> None:
    notify(sender)
    listener.selftest()
    assert listener.wait(0)
    assert not listener.wait(0)


def test_without_a_notification_the_time_passes(listener: Listener) -> None:
    begun = time.monotonic()
    assert not listener.wait(0.05)
    assert time.monotonic() - begun >= 0.05


def test_other_channels_and_payloads_do_not_count(listener: Listener, sender: Any) -> None:
    sender.execute("NOTIFY other")
    sender.execute("NOTIFY zeotwisted, 'nonce of another daemon'")
    listener.selftest()
    assert not listener.wait(0)


def test_a_wake_ends_one_wait(listener: Listener, sender: Any) -> None:
    listener.wake()
    begun = time.monotonic()
    assert not listener.wait(30.0)
    assert time.monotonic() - begun < 20
    notify(sender)
    assert listener.wait(30.0)


def test_a_close_ends_the_wait(listener: Listener) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(listener.wait, 30.0)
        listener.close()
        assert not waiting.result(20)
    listener.close()
    listener.wake()
    assert not listener.wait(30.0)


def test_many_wakes_do_not_block(listener: Listener) -> None:
    for _ in range(100_000):
        listener.wake()


def test_a_terminated_backend_is_noticed_at_once(listener: Listener, sender: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(listener.wait, 30.0)
        sender.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with pytest.raises(Unreachable, match="the connection to PostgreSQL is lost") as caught:
            waiting.result(20)
    assert "\n" not in str(caught.value)
    with pytest.raises(Unreachable):
        listener.wait(30.0)
    with pytest.raises(Unreachable):
        listener.selftest()


@pytest.mark.parametrize("number", [signal.SIGQUIT, signal.SIGKILL, signal.SIGINT])
def test_a_killed_server_is_noticed_and_one_that_is_back_is_listened_to(number: int) -> None:
    if missing_programs():
        pytest.skip(str(missing_programs()))
    with PostgreSQLServer() as server:
        dsn = server.dsn()
        with closing(Listener(dsn)) as listener:
            server.kill(number)
            with pytest.raises(Unreachable):
                listener.wait(30.0)
        with pytest.raises(Unreachable, match="check the data source"):
            Listener(dsn)
        server.start()
        with closing(Listener(dsn)) as listener, closing(connect(dsn)) as sender:
            listener.selftest()
            notify(sender)
            assert listener.wait(10.0)


def test_what_swallows_notifications_is_said(dsn: str) -> None:
    """A pooler of transactions gives the connection that listens to somebody else."""
    with closing(Listener(dsn)) as listener:
        listener._connection.execute("UNLISTEN *")
        with pytest.raises(Deaf, match="a notification does not arrive within") as caught:
            listener.selftest(0.05)
    assert "\n" not in str(caught.value)


def test_a_standby_is_refused(postgresql: PostgreSQLServer) -> None:
    with postgresql.standby() as standby, pytest.raises(Deaf, match="recovery"):
        Listener(standby.dsn())


def test_a_connection_whose_other_end_is_gone_is_closed(dsn: str) -> None:
    with closing(Listener(dsn)) as listener:
        duplicate = socket.socket(fileno=listener._connection.fileno())
        try:
            assert duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
            assert duplicate.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15000
        finally:
            duplicate.detach()


def test_what_the_data_source_says_wins(dsn: str) -> None:
    with closing(connect(dsn + " application_name=mine keepalives_idle=77")) as connection:
        assert connection.execute("SHOW application_name").fetchone() == ("mine",)
