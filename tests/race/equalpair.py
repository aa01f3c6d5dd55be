"""Look for torn snapshots: two objects that are always equal must never be seen to differ.

Writers' processes change both of them in each of their transactions. Meanwhile readers' processes
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
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import ZODB
from persistent.mapping import PersistentMapping
from transaction import TransactionManager
from transaction.interfaces import TransientError
from ZODB.FileStorage import FileStorage

from tests.history import (
    RULES,
    HistoryFile,
    Recording,
    Transaction,
    check,
    read_history,
    transactions_of,
)

from .weather import Weather

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Race:
    """One run.

    :ivar client: the package whose clients take part, ``zeotwisted`` or ``ZEO``.
    :ivar server: the package whose server they use.
    :ivar transactions: how many each writer commits.
    :ivar readers: how many readers there are.
    :ivar writers: how many writers there are.
    :ivar drops: the network is bad, and all connections break after so many seconds, on average,
        again and again; 0 for a good one.
    :ivar cache: whether clients keep their caches in files.
    :ivar record: whether they record what they do, so that it can be checked.
    """

    client: str = "zeotwisted"
    server: str = "zeotwisted"
    transactions: int = 10_000
    readers: int = 3
    writers: int = 1
    drops: float = 0.0
    cache: bool = False
    record: bool = True


@dataclass
class Place:
    """Where a race takes place.

    :ivar addresses: for each process in turn, the address or addresses that it is given.
    :ivar transactions: returns those of the database, when the race is over; None if they are not
        known, so that they cannot be checked.
    """

    addresses: Sequence[Any]
    transactions: Callable[[], Iterable[Transaction]] | None


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


def run(
    race: Race,
    directory: Path,
    timeout: float | None = None,
    place: Place | None = None,
    disturb: Callable[[Callable[[], bool]], object] = lambda running: None,
) -> Seen:
    """Run a race in new processes.

    :param timeout: how many seconds each process may take.
    :param place: where there is an empty database; by default, a new server with a new database in
        `directory`.
    :param disturb: called when all processes are started, with a function that returns whether
        some of them still run.
    """
    with ExitStack() as stack:
        place = place or _new_server(race, directory, stack)
        addresses = place.addresses
        _prepare(race, addresses[0])
        if race.drops:
            assert len(addresses) == 1
            weather = Weather(addresses[0], race.drops)
            stack.callback(weather.end)
            addresses = [weather.address]
        processes: list[subprocess.Popen[str]] = []
        names = [f"reader {number}" for number in range(race.readers)]
        names += [f"writer {number}" for number in range(race.writers)]
        for number, name in enumerate(names):
            # One at a time, so that those that were started are ended if another is not.
            process = _start(race, addresses[number % len(addresses)], name, directory)
            processes.append(process)
            stack.callback(process.wait)
            stack.callback(process.kill)
        disturb(lambda: any(process.poll() is None for process in processes))
        total = Seen()
        for process in processes:
            output, _ = process.communicate(timeout=timeout)
            if process.returncode:
                raise RuntimeError("a process of the race has failed")
            total.add(Seen(**json.loads(output)))
        if race.record and place.transactions is not None:
            history = read_history(directory.glob("*.history"))
            rules = {name: rule for name, rule in RULES.items() if name not in _NOT_OF[race.client]}
            total.violations = list(map(str, check(history, place.transactions(), rules)))
    return total


#: Which of the checker's rules the clients of a package do not keep.
_NOT_OF: dict[str, tuple[str, ...]] = {"zeotwisted": (), "ZEO": ("news",)}


def _new_server(race: Race, directory: Path, stack: ExitStack) -> Place:
    path = str(directory / "Data.fs")
    address, stop = import_module(race.server).server(path=path, threaded=False)
    # ZEO's server must not be stopped twice.
    running = stack.enter_context(ExitStack())
    running.callback(stop)

    def transactions() -> Iterable[Transaction]:
        running.close()
        with closing(FileStorage(path, read_only=True)) as storage:
            return list(transactions_of(storage))

    return Place([address], transactions)


def _prepare(race: Race, address: Any) -> None:
    database = import_module(race.client).DB(_address(address))
    with database.transaction() as connection:
        root = connection.root()
        root["left"] = PersistentMapping(value=0)
        root["right"] = PersistentMapping(value=0)
        for reader in range(race.readers):
            root[f"reader {reader}"] = PersistentMapping(value=0)
    database.close()


def _address(address: Any) -> Any:
    """Return an address, or several, as it was before JSON made lists of it."""
    if isinstance(address, str):
        return address
    if isinstance(address[0], str):
        return tuple(address)
    return [tuple(each) for each in address]


def _start(race: Race, address: Any, name: str, directory: Path) -> subprocess.Popen[str]:
    arguments = json.dumps([asdict(race), address, name, str(directory)])
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.race.equalpair", "--child", arguments],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        text=True,
    )


def _child(race: Race, address: Any, name: str, directory: str) -> Seen:
    storage = import_module(race.client).client(
        _address(address),
        cache=str(Path(directory, f"{name}.cache")) if race.cache else None,
    )
    if race.record:
        storage = Recording(storage, HistoryFile(Path(directory, f"{name}.history")), name)
    database = _open(storage)
    manager = TransactionManager()
    connection = database.open(manager)
    try:
        if name.startswith("writer"):
            return _write(race, manager, connection)
        return _read(race, manager, connection, name)
    finally:
        manager.abort()
        connection.close()
        database.close()


def _open(storage: Any) -> ZODB.DB:
    """Open a database, which loads its root: the connection may break meanwhile."""
    while True:
        try:
            return ZODB.DB(storage)
        except TransientError:
            continue


def _write(race: Race, manager: TransactionManager, connection: Any) -> Seen:
    seen = Seen()
    while seen.commits < race.transactions:
        try:
            manager.begin()
            root = connection.root()
            root["left"]["value"] = root["right"]["value"] = root["left"]["value"] + 1
            manager.commit()
        except TransientError:
            # A conflict; or the connection was dropped, and it is not committed.
            manager.abort()
        else:
            seen.commits += 1
    return seen


def _read(race: Race, manager: TransactionManager, connection: Any, name: str) -> Seen:
    seen = Seen()
    while True:
        try:
            manager.begin()
            root = connection.root()
            own, left, right = root[name], root["left"], root["right"]
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
        # Each commit of a writer counts once: if one is lost, this never ends.
        if max(values) >= race.transactions * race.writers:
            return seen


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.race.equalpair", description=__doc__)
    default = Race()
    parser.add_argument("--client", choices=("zeotwisted", "ZEO"), default=default.client)
    parser.add_argument("--server", choices=("zeotwisted", "ZEO"), default=default.server)
    parser.add_argument("--transactions", type=int, default=default.transactions)
    parser.add_argument("--readers", type=int, default=default.readers)
    parser.add_argument("--writers", type=int, default=default.writers)
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
