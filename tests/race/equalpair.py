"""Look for torn snapshots: two objects that are always equal must never be seen to differ.

A writer's process changes both of them in each of its transactions. Meanwhile readers' processes
commit to objects of their own, so that they are always between two states, and compare the pair
after one half of it has been put out of their caches. A client that loses an invalidation, or that
believes to have seen a transaction before it knows what it changed, sees a difference sooner or
later. All processes record what they read and wrote, and in the end this is compared with the
database; see `tests.history`.

Run ``python -m tests.race.equalpair --help`` in the root of the checkout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import ZODB
from persistent.mapping import PersistentMapping
from transaction import TransactionManager
from transaction.interfaces import TransientError
from ZODB.FileStorage import FileStorage

from tests.history import HistoryFile, Recording, check, read_history, transactions_of

from .weather import Weather

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Race:
    """One run.

    :ivar client: the package whose clients take part, ``zeotwisted`` or ``ZEO``.
    :ivar server: the package whose server they use.
    :ivar transactions: how many the writer commits.
    :ivar readers: how many readers there are.
    :ivar drops: the network is bad, and all connections break after so many seconds, on average,
        again and again; 0 for a good one.
    :ivar cache: whether clients keep their caches in files.
    :ivar record: whether they record what they do, so that it can be checked.
    """

    client: str = "zeotwisted"
    server: str = "zeotwisted"
    transactions: int = 10_000
    readers: int = 3
    drops: float = 0.0
    cache: bool = False
    record: bool = True


@dataclass
class Seen:
    """What a process has done and seen.

    :ivar violations: what is wrong in the records of all processes.
    """

    commits: int = 0
    comparisons: int = 0
    differences: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: Seen) -> None:
        self.commits += other.commits
        self.comparisons += other.comparisons
        self.differences += other.differences


def run(race: Race, directory: Path, timeout: float | None = None) -> Seen:
    """Run a race in new processes, with a new database in `directory`.

    :param timeout: how many seconds each process may take.
    """
    address, stop = import_module(race.server).server(
        path=str(directory / "Data.fs"), threaded=False
    )
    processes: list[subprocess.Popen[str]] = []
    weather = Weather(address, race.drops) if race.drops else None
    try:
        _prepare(race, address)
        if weather is not None:
            address = weather.address
        for reader in (*range(race.readers), None):
            # One at a time, so that those that were started are ended if another is not.
            processes += [_start(race, address, reader, directory)]
        total = Seen()
        for process in processes:
            output, _ = process.communicate(timeout=timeout)
            if process.returncode:
                raise RuntimeError("a process of the race has failed")
            total.add(Seen(**json.loads(output)))
    finally:
        for process in processes:
            process.kill()
            process.wait()
        if weather is not None:
            weather.end()
        stop()
    if race.record:
        history = read_history(directory.glob("*.history"))
        with closing(FileStorage(str(directory / "Data.fs"), read_only=True)) as storage:
            total.violations = list(map(str, check(history, transactions_of(storage))))
    return total


def _prepare(race: Race, address: Any) -> None:
    database = import_module(race.client).DB(address)
    with database.transaction() as connection:
        root = connection.root()
        root["left"] = PersistentMapping(value=0)
        root["right"] = PersistentMapping(value=0)
        for reader in range(race.readers):
            root[reader] = PersistentMapping(value=0)
    database.close()


def _start(race: Race, address: Any, reader: int | None, directory: Path) -> subprocess.Popen[str]:
    arguments = json.dumps([asdict(race), address, reader, str(directory)])
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.race.equalpair", "--child", arguments],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        text=True,
    )


def _child(race: Race, address: Any, reader: int | None, directory: str) -> Seen:
    name = "writer" if reader is None else f"reader {reader}"
    storage = import_module(race.client).client(
        address if isinstance(address, str) else tuple(address),
        cache=str(Path(directory, f"{name}.cache")) if race.cache else None,
    )
    if race.record:
        storage = Recording(storage, HistoryFile(Path(directory, f"{name}.history")), name)
    database = ZODB.DB(storage)
    manager = TransactionManager()
    connection = database.open(manager)
    try:
        if reader is None:
            return _write(race, manager, connection.root())
        return _read(race, manager, connection, reader)
    finally:
        manager.abort()
        connection.close()
        database.close()


def _write(race: Race, manager: TransactionManager, root: Any) -> Seen:
    seen = Seen()
    while seen.commits < race.transactions:
        try:
            manager.begin()
            root["left"]["value"] = root["right"]["value"] = seen.commits + 1
            manager.commit()
        except TransientError:
            # The connection was dropped, and it is not committed.
            manager.abort()
        else:
            seen.commits += 1
    return seen


def _read(race: Race, manager: TransactionManager, connection: Any, reader: int) -> Seen:
    seen = Seen()
    while True:
        try:
            manager.begin()
            root = connection.root()
            own, left, right = root[reader], root["left"], root["right"]
            own["value"] += 1
            manager.commit()
            seen.commits += 1
            manager.begin()
            # The other half stays, unless its invalidation has been received.
            (right if seen.commits % 2 else left)._p_deactivate()
            if seen.commits % 16 == 0:
                connection.cacheMinimize()
            values = left["value"], right["value"]
        except TransientError:
            # A stock client may be told of a conflict where there is none; it has to try again.
            manager.abort()
            continue
        seen.comparisons += 1
        if values[0] != values[1]:
            seen.differences += 1
        if max(values) >= race.transactions:
            return seen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.race.equalpair", description=__doc__)
    default = Race()
    parser.add_argument("--client", choices=("zeotwisted", "ZEO"), default=default.client)
    parser.add_argument("--server", choices=("zeotwisted", "ZEO"), default=default.server)
    parser.add_argument("--transactions", type=int, default=default.transactions)
    parser.add_argument("--readers", type=int, default=default.readers)
    parser.add_argument("--drops", type=float, default=default.drops, metavar="SECONDS")
    parser.add_argument("--cache", action="store_true", help="keep caches in files")
    parser.add_argument("--no-record", dest="record", action="store_false", help="check less")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = vars(parser.parse_args())
    child = options.pop("child")
    if child is not None:
        race, *arguments = json.loads(child)
        print(json.dumps(asdict(_child(Race(**race), *arguments))))
        return 0
    race = Race(**options)
    with tempfile.TemporaryDirectory() as directory:
        seen = run(race, Path(directory))
    print(
        f"{race.client} clients, {race.server} server: {seen.commits} commits, "
        f"{seen.comparisons} comparisons, {seen.differences} differences"
        + (f", {len(seen.violations)} violations" if race.record else "")
    )
    for violation in seen.violations:
        print(violation, file=sys.stderr)
    return 1 if seen.differences or seen.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
