"""Clients keep their caches while the daemon is started again."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import transaction
from ZODB.POSException import POSKeyError
from ZODB.utils import z64

import zeotwisted
from zeotwisted.exceptions import ClientDisconnected

from .conftest import ANYWHERE, TIMEOUT, Running

pytestmark = pytest.mark.timeout(180)

#: Clients, and how many of them write.
CLIENTS = 50
WRITERS = 5

Run = Callable[..., Running]


def oid(number: int) -> bytes:
    return number.to_bytes(8, "big")


def store(storage: Any, oids: list[bytes], data: bytes) -> None:
    """Commit one revision of some objects; try again until it is done."""
    while True:
        txn = transaction.TransactionManager().begin()
        try:
            serials = [serial(storage, each) for each in oids]
            storage.tpc_begin(txn)
            for each, read in zip(oids, serials, strict=True):
                storage.store(each, read, data, "", txn)
            storage.tpc_vote(txn)
            storage.tpc_finish(txn)
            return
        except ClientDisconnected:
            storage.tpc_abort(txn)


def serial(storage: Any, oid: bytes) -> bytes:
    """Return the tid of the current revision of an object, which may not exist yet."""
    try:
        tid: bytes = storage.load(oid)[1]
    except POSKeyError:
        return z64
    return tid


def catch_up(storage: Any) -> None:
    """Wait until a client has received all invalidations that the server has sent."""
    while True:
        try:
            storage.server_status(TIMEOUT)
            return
        except ClientDisconnected:
            # It has not noticed yet that the first daemon is gone.
            continue


class Writer(threading.Thread):
    """Commits revisions of one object, until it is told to end; counts them."""

    def __init__(self, storage: Any, oid: bytes) -> None:
        super().__init__()
        self._storage = storage
        self._oid = oid
        self.ends = False
        self.errors: list[Exception] = []
        self.count = 0
        self._more = threading.Condition()

    def run(self) -> None:
        try:
            while not self.ends:
                store(self._storage, [self._oid], b"%d" % (self.count + 1))
                with self._more:
                    self.count += 1
                    self._more.notify_all()
        except Exception as error:
            self.errors.append(error)

    def wait_for_more(self, number: int = 5) -> None:
        """Wait until it has committed some more."""
        with self._more:
            aim = self.count + number
            assert self._more.wait_for(lambda: self.count >= aim or self.errors, TIMEOUT)
        assert not self.errors


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_restart_under_load(
    daemon: Run, folder: Path, caplog: pytest.LogCaptureFixture, signum: signal.Signals
) -> None:
    """The readers have cached an object each that stays, and one that the writers change."""
    caplog.set_level(logging.INFO, "zeotwisted.client")
    running = daemon(*ANYWHERE)
    address = running.address
    stays = [oid(1000 + number) for number in range(CLIENTS)]
    changes = [oid(number + 1) for number in range(WRITERS)]
    with ExitStack() as stack:

        def opened(**options: Any) -> Any:
            return stack.enter_context(
                closing(zeotwisted.ClientStorage(address, wait_timeout=TIMEOUT, **options))
            )

        away = opened(cache=str(folder / "away.cache"))
        store(away, stays, b"stays")
        store(away, changes, b"0")
        for each in (*stays, *changes):
            away.load(each)
        seen = away.lastTransaction()
        away.close()
        readers = [opened() for _ in range(CLIENTS - WRITERS)]
        for reader, mine in zip(readers, stays, strict=False):
            reader.load(mine)
            for each in changes:
                reader.load(each)
        writers = [Writer(opened(), each) for each in changes]
        for writer in writers:
            writer.start()
        # More transactions than are remembered by their number.
        writers[0].wait_for_more(150)
        running.stop(signum)
        running = daemon("--listen", f"tcp:{address[1]}:interface=127.0.0.1")
        for writer in writers:
            writer.wait_for_more()
            writer.ends = True
        for writer in writers:
            writer.join(TIMEOUT)
            assert not writer.errors
        for reader, mine in zip(readers, stays, strict=False):
            catch_up(reader)
            assert reader._cache.loadBefore(mine, b"\x7f" + b"\xff" * 7), "from its cache"
            for each, writer in zip(changes, writers, strict=True):
                assert int(reader.load(each)[0]) == writer.count
        again = opened(cache=str(folder / "away.cache"))
        assert again.lastTransaction() > seen
        assert again._cache.loadBefore(stays[0], b"\x7f" + b"\xff" * 7)
        for each, writer in zip(changes, writers, strict=True):
            assert int(again.load(each)[0]) == writer.count
    assert "dropped" not in caplog.text
    assert "away for too long" not in caplog.text
