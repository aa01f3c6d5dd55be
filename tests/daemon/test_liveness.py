"""A daemon whose process is stopped, and goes on later."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import transaction
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

from zeotwisted.exceptions import ClientDisconnected

from .conftest import ANYWHERE, Running, commit, opened, read

Daemon = Callable[..., Running]
pytestmark = pytest.mark.timeout(120)

TIMEOUT = 3.0


@contextmanager
def stopped(running: Running) -> Iterator[None]:
    os.kill(running.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(running.process.pid, signal.SIGCONT)


def _store_much(storage: Any) -> None:
    """Store more than any buffer of a socket holds."""
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    try:
        for number in range(1, 33):
            storage.store(p64(number), z64, b"x" * 1_000_000, "", txn)
        storage.tpc_vote(txn)
    finally:
        storage.tpc_abort(txn)


@pytest.mark.parametrize("call", [lambda storage: storage.ping(), _store_much])
def test_call_to_a_daemon_that_is_stopped(daemon: Daemon, call: Callable[[Any], None]) -> None:
    running = daemon(*ANYWHERE)
    with opened(running.address, liveness_timeout=TIMEOUT) as connection:
        connection.root()["a"] = 1
        transaction.commit()
        storage = connection.db().storage
        began = time.monotonic()
        with stopped(running):
            with pytest.raises(ClientDisconnected, match=r"nothing was heard|connection lost"):
                call(storage)
            assert not storage.is_connected()
        assert time.monotonic() - began < 5 * TIMEOUT
        # It is there again, and so are we.
        storage.ping()
        assert storage.is_connected()
        assert connection.root()["a"] == 1
    commit(running.address, "b", 2)


def test_client_timeout(daemon: Daemon) -> None:
    running = daemon(*ANYWHERE, "--client-timeout", "3")
    commit(running.address, "a", 1)
    assert read(running.address, "a") == 1
    # Time in which the daemon was stopped itself is nobody's silence.
    with opened(running.address) as connection, stopped(running):
        os.kill(running.process.pid, signal.SIGCONT)
        connection.db().storage.ping()
    assert running.stop() == 0
    assert "nothing was heard" not in running.output
