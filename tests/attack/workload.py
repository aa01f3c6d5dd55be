"""The process of the well-behaved clients: ``python -m tests.attack.workload SOCKET``.

For each line that it reads, it writes what has happened since the last one, as JSON.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import ZODB
from ZODB.utils import p64

import zeotwisted
from zeotwisted.clientstorage import ClientStorage

_ROOT = Path(__file__).parents[2]

#: How long (seconds) each client rests between its calls, on average. The daemon is busy, and not
#: overloaded.
_REST = 0.005

#: How many objects there are.
_OBJECTS = 20

KINDS = ("load", "commit", "connect")


class Figures(NamedTuple):
    """What the clients have seen: medians in seconds, numbers of calls, and failures."""

    medians: dict[str, float]
    counts: dict[str, int]
    failures: list[str]


class Workload:
    """Runs the clients in another process."""

    def __init__(self, address: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, address],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.figures()

    def figures(self) -> Figures:
        """Return what has happened since the last call."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Figures(*json.loads(self._process.stdout.readline()))

    def stop(self) -> None:
        """End the clients."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Clients:
    """The clients, each in a thread."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self._failures: list[str] = []
        self._db = ZODB.DB(ClientStorage(address, wait_timeout=20, cache_size=0))
        with self._db.transaction() as connection:
            for number in range(_OBJECTS):
                connection.root()[number] = "x" * 1000
        self._threads = [
            threading.Thread(target=self._repeat, args=(kind,), daemon=True) for kind in KINDS
        ]
        for thread in self._threads:
            thread.start()

    def _repeat(self, kind: str) -> None:
        step = {"load": self._load, "commit": self._commit, "connect": self._connect}[kind]
        longest = 2 * _REST if kind != "connect" else 40 * _REST
        # At random, so that no client keeps step with another one.
        while not self._over.wait(random.uniform(0, longest)):
            began = time.perf_counter()
            try:
                step()
            except Exception as error:
                with self._lock:
                    self._failures.append(f"{kind}: {type(error).__name__}: {error}")
            else:
                with self._lock:
                    self._seconds[kind].append(time.perf_counter() - began)

    def _load(self) -> None:
        self._db.storage.loadSerial(p64(0), self._db.storage.getTid(p64(0)))

    def _commit(self) -> None:
        with self._db.transaction() as connection:
            connection.root()["n"] = time.time()

    def _connect(self) -> None:
        zeotwisted.client(self._address, wait_timeout=20).close()

    def figures(self) -> Figures:
        with self._lock:
            seconds, self._seconds = self._seconds, {kind: [] for kind in KINDS}
            failures, self._failures = self._failures, []
        return Figures(
            {kind: median(values) if values else 0.0 for kind, values in seconds.items()},
            {kind: len(values) for kind, values in seconds.items()},
            failures,
        )

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)
        self._db.close()


def main(address: str) -> None:
    clients = Clients(address)
    for _ in sys.stdin:
        print(json.dumps(clients.figures()), flush=True)
    clients.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
