"""Kill a client again and again, and compare what its cache file holds with the server.

``python -m tests.clientstorage.cache.killcache 300`` does so 300 times.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError
from ZODB.utils import p64, u64, z64

import zeotwisted
from zeotwisted.clientstorage.cache.file import FileCache

_OBJECTS = 120
_SIZE = 150_000

# Each line on its input makes a client in a process of its own, whose number it prints.
_SPAWNER = """
import os, signal, sys
import zeotwisted
import zeotwisted.clientstorage.storage
from tests.clientstorage.cache.killcache import work
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        work(int(sys.argv[1]), sys.argv[2], int(line))
    print(pid, flush=True)
"""


def commit(storage: Any, chance: random.Random) -> None:
    """Change some objects; a conflict with somebody else is part of the game."""
    transaction = TransactionMetaData()
    try:
        storage.tpc_begin(transaction)
        for number in chance.sample(range(1, _OBJECTS), chance.randrange(1, 6)):
            try:
                serial = storage.load(p64(number))[1]
            except KeyError:
                serial = z64
            data = b"%d" % chance.randrange(10**9) * chance.randrange(1, 400)
            storage.store(p64(number), serial, data, "", transaction)
        storage.tpc_vote(transaction)
        storage.tpc_finish(transaction)
    except ConflictError:
        storage.tpc_abort(transaction)


def work(port: int, path: str, seed: int) -> None:
    """Load and commit for ever."""
    chance = random.Random(seed)
    storage = zeotwisted.ClientStorage(("127.0.0.1", port), cache=path, cache_size=_SIZE)
    while True:
        if chance.random() < 0.2:
            commit(storage, chance)
        else:
            before = u64(storage.lastTransaction()) + 1
            if chance.random() < 0.2:
                before -= chance.randrange(10**8)
            with contextlib.suppress(KeyError):
                storage.loadBefore(p64(chance.randrange(1, _OBJECTS)), p64(before))


def compare(path: str, storage: Any) -> int:
    """Return how many records the file holds; all of them must be right."""
    cache = FileCache(path, _SIZE)
    try:
        last_tid = cache.getLastTid()
        # Whoever compares may not have heard yet what the killed client has.
        storage.ping()
        assert last_tid <= storage.lastTransaction()
        count = 0
        for oid, start, end, data in cache.revisions():
            known = storage.loadBefore(oid, p64(u64(start) + 1))
            assert known is not None and known[:2] == (data, start), (oid, start)
            if end is None:
                assert known[2] is None or known[2] > last_tid, (oid, start, known[2], last_tid)
            else:
                assert known[2] == end, (oid, start, end, known[2])
            count += 1
        return count
    finally:
        cache.close()


def kill_clients(times: int, seed: int = 0) -> tuple[int, int]:
    """Return how many records were compared, and how many times the file was not empty."""
    chance = random.Random(seed)
    stopped = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "cache"))
        (host, port), stop = zeotwisted.server(threaded=True)
        reference = zeotwisted.ClientStorage((host, port), cache_size=0, server_sync=True)
        other = zeotwisted.ClientStorage((host, port))

        def write() -> None:
            other_chance = random.Random(seed)
            while not stopped.wait(0.002):
                commit(other, other_chance)

        writer = threading.Thread(target=write)
        writer.start()
        spawner = subprocess.Popen(
            [sys.executable, "-c", _SPAWNER, str(port), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert spawner.stdin is not None and spawner.stdout is not None
        records = filled = 0
        try:
            for number in range(times):
                print(seed * 10_000 + number, file=spawner.stdin, flush=True)
                pid = int(spawner.stdout.readline())
                time.sleep(chance.uniform(0.1, 1.2))
                _kill(pid)
                found = compare(path, reference)
                records += found
                filled += bool(found)
        finally:
            stopped.set()
            writer.join()
            spawner.stdin.close()
            spawner.wait()
            spawner.stdout.close()
            for storage in (reference, other):
                storage.close()
            stop()
    return records, filled


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    # It is not our child: its lock tells when it is gone.
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.001)


if __name__ == "__main__":
    compared, filled_times = kill_clients(int(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 0)
    print(f"{compared} records compared, in {filled_times} files that were not empty")
