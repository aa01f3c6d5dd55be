"""A server that does not read makes those wait who write, and nobody else."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

from zeotwisted.exceptions import ClientDisconnected

from .support import InThread, World, store, wait_until

RECORDS = 400
RECORD = 100_000


def data(number: int) -> bytes:
    return p64(number) * (RECORD // 8)


def commit(storage: Any) -> None:
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    try:
        for number in range(RECORDS):
            storage.store(p64(number + 100), z64, data(number), "", txn)
        storage.tpc_vote(txn)
        storage.tpc_finish(txn)
    except BaseException:
        storage.tpc_abort(txn)
        raise


def wait_until_stuck(writing: InThread) -> None:
    wait_until("the writer waits", lambda: {"wait_for_room", "_wait_for_socket"} & {*writing.stack})


def test_server_that_stops_reading(world: World) -> None:
    server = world.server(threaded=False)
    storage = world.client(server.address, cache_size=0)
    store(storage, p64(1), b"old")
    process = server._stop.process  # type: ignore[union-attr]
    process.send_signal(signal.SIGSTOP)
    try:
        writing = InThread(commit, storage)
        wait_until_stuck(writing)
        assert storage.is_connected()
        assert storage._link.connection.ready._outbox._size < 4 * 1024 * 1024
    finally:
        process.send_signal(signal.SIGCONT)
    writing.result(60)
    for number in range(RECORDS):
        assert storage.load(p64(number + 100))[0] == data(number)


@pytest.mark.parametrize("end", ["connection", "storage"])
def test_the_end_wakes_the_writer(world: World, end: str) -> None:
    server = world.server(threaded=False)
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    process = server._stop.process  # type: ignore[union-attr]
    process.send_signal(signal.SIGSTOP)
    try:
        writing = InThread(commit, storage)
        wait_until_stuck(writing)
        if end == "storage":
            storage.close()
        else:
            proxy.drop()
        with pytest.raises(ClientDisconnected):
            writing.result()
    finally:
        process.send_signal(signal.SIGCONT)
