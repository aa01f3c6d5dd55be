"""Look for commits that are counted wrongly: a counter must never be off by one.

Several clients' processes increment one counter, all with the same data.
Meanwhile the server's process is killed, or the clients' connections are cut at some frame of some
commit: before or after it is passed on, in either direction, or with the frame held back and
delivered when the client is gone. Each client counts the commits that it was told of, and tries
again what it was told did not happen. In the end the counter is the sum of what they counted. The
clients also record what they read and wrote, and in the end this is compared with the database; see
`tests.history`. Each transaction has a mark in its description then.

Run ``python -m tests.outcome.counter --help`` in the root of the checkout.
"""

from __future__ import annotations

import argparse
import json
import logging
import operator
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import ZODB
import zodbpickle.pickle as zodbpickle
from persistent.mapping import PersistentMapping
from transaction import TransactionManager
from transaction.interfaces import TransientError
from ZODB.utils import tid_repr, z64

import zeotwisted
from tests.history import (
    RULES,
    Case,
    HistoryFile,
    Recording,
    Transaction,
    check,
    read_history,
    transactions_of,
)
from zeotwisted.clientstorage.commit import transaction as module
from zeotwisted.exceptions import CommitInDoubt

from .cutter import Cutter
from .daemon import STORAGES, Daemon

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Campaign:
    """One run.

    :ivar server: whose server, ``zeotwisted`` or ``ZEO``.
    :ivar protocol: the highest version that zeotwisted's server may offer.
    :ivar storage: what it serves; only a FileStorage outlives a server that is killed.
    :ivar fault: ``kill`` for the server, or ``cut`` for the connections.
    :ivar faults: how many of these.
    :ivar clients: how many clients there are.
    :ivar record: whether they record what they do, so that it can be checked. Otherwise all
        transactions have the same description.
    """

    server: str = "zeotwisted"
    protocol: int = 6
    storage: str = "filestorage"
    fault: str = "cut"
    faults: int = 1000
    clients: int = 3
    seed: int = 0
    record: bool = True


@dataclass
class Counted:
    """What a client was told.

    :ivar commits: of how many commits it was told.
    :ivar found: how many of them had to be found out.
    :ivar retries: how often it had to try again.
    :ivar in_doubt: how often nobody knew.
    """

    commits: int = 0
    found: int = 0
    retries: int = 0
    in_doubt: int = 0

    def add(self, other: Counted) -> None:
        self.commits += other.commits
        self.found += other.found
        self.retries += other.retries
        self.in_doubt += other.in_doubt


@dataclass
class Result:
    """What came of it.

    :ivar counter: the counter's value in the end; it has to be `counted.commits`.
    :ivar violations: what is wrong in the records of the clients.
    """

    counter: int
    faults: int
    counted: Counted
    violations: list[str]


def run(campaign: Campaign, directory: Path, timeout: float = 120.0) -> Result:
    """Run a campaign in new processes, with a new database in `directory`.

    :param timeout: how many seconds the clients may take to end after the last fault.
    """
    with ExitStack() as stack:
        daemon = Daemon(directory, campaign.server, campaign.protocol, campaign.storage)
        stack.callback(daemon.stop)
        cutter = Cutter(daemon.address, random.Random(campaign.seed), campaign.fault == "cut")
        stack.callback(cutter.close)
        prepare(daemon.address, ["counter"])

        def disturb() -> None:
            if campaign.fault == "cut":
                cutter.cut(campaign.faults)
            else:
                _kill(daemon, campaign)

        clients = [Client(cutter.address)] * campaign.clients
        told = count(clients, directory, disturb, campaign.record, timeout)
        total = Counted()
        for counted in told:
            total.add(counted)
        violations: list[str] = []
        if campaign.record:
            violations = _violations(daemon.address, directory, campaign.server)
        (value,) = values(daemon.address, ["counter"])
        return Result(value, campaign.faults, total, violations)


@dataclass
class Client:
    """What a client is told.

    :ivar address: an address, or several.
    :ivar counter: the name of the counter that it increments.
    """

    address: Any
    counter: str = "counter"


def count(
    clients: Sequence[Client],
    directory: Path,
    disturb: Callable[[], object],
    record: bool = True,
    timeout: float = 120.0,
) -> list[Counted]:
    """Let clients count as long as `disturb` takes; return what each of them was told.

    :param directory: gets their records.
    :param timeout: how many seconds the clients may take to end then.
    """
    with ExitStack() as stack:
        processes = []
        for number, client in enumerate(clients):
            history = directory / f"client {number}.history" if record else None
            process = _start(client, history)
            processes.append(process)
            stack.callback(process.wait)
            stack.callback(process.kill)
        for process in processes:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError("a client does not start")
        disturb()
        told = []
        for process in processes:
            output, _ = process.communicate("\n", timeout=timeout)
            if process.returncode:
                raise RuntimeError("a client has failed")
            told.append(Counted(**json.loads(output)))
        return told


def _kill(daemon: Daemon, campaign: Campaign) -> None:
    chance = random.Random(campaign.seed)
    for _ in range(campaign.faults):
        # The clients need some time to come back, and are to be in the midst of commits then.
        time.sleep(chance.uniform(0.05, 0.5))
        daemon.kill()
        daemon.start()


def prepare(address: Any, counters: Iterable[str]) -> None:
    """Make the counters."""
    database = zeotwisted.DB(address, wait_timeout=60)
    with database.transaction() as connection:
        for counter in counters:
            connection.root()[counter] = PersistentMapping(value=0)
    database.close()


def values(address: Any, counters: Iterable[str]) -> list[int]:
    """Return the values of the counters."""
    database = zeotwisted.DB(address, wait_timeout=60)
    with database.transaction() as connection:
        found = [connection.root()[counter]["value"] for counter in counters]
    database.close()
    return found


def _violations(address: Any, directory: Path, server: str) -> list[str]:
    """Compare what the clients have recorded with what the server has."""
    dropped = _dropped(directory) if server == "ZEO" else ()
    history = read_history(directory.glob("*.history"))
    rules = {**RULES, "increments": increments}
    with closing(zeotwisted.client(address, wait_timeout=60)) as storage:
        transactions = sorted([*transactions_of(storage), *dropped], key=operator.attrgetter("tid"))
        return list(map(str, check(history, transactions, rules)))


def _dropped(directory: Path) -> Iterator[Transaction]:
    """Yield what a FileStorage has dropped, as transactions that change nothing.

    When the server was killed between a vote and its end, the file's last transaction is not
    finished. FileStorage moves it into another file, but takes its tid for the last one, and so do
    clients of ZEO's server.
    """
    for path in directory.glob("Data.fs.tr*"):
        yield Transaction(path.read_bytes()[:8], b"", {})


def increments(case: Case) -> Iterator[tuple[str, tuple[()]]]:
    """Each transaction increments the counter once. The first two create the root, and it."""
    _, *changes = filter(operator.attrgetter("records"), case.database.transactions)
    (oid,) = changes[0].records.keys() - {z64}
    before = -1
    for transaction in changes:
        record = BytesIO(transaction.records[oid] or b"")
        # A record is two pickles, of the class and of the state.
        _, state = zodbpickle.load(record), zodbpickle.load(record)
        value = state["data"]["value"]
        if value != before + 1:
            yield f"{tid_repr(transaction.tid)} counts from {before} to {value}", ()
        before = value


def _start(client: Client, history: Path | None) -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    arguments = json.dumps([client.address, client.counter, history and str(history)])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.outcome.counter", "--child", arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        text=True,
    )


def _count(address: Any, counter: str, history: str | None) -> Counted:
    """Increment until there is a line to read."""
    logging.disable(logging.CRITICAL)
    counted = Counted()
    ask = module.committed_tid

    def counting(*args: Any) -> Any:
        tid = ask(*args)
        counted.found += tid is not None
        return tid

    module.committed_tid = counting
    end = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), end.set()), daemon=True).start()
    several = [tuple(each) for each in address] if isinstance(address[0], list) else tuple(address)
    storage = zeotwisted.client(several, wait_timeout=60)
    # A server that fails every time has its clients wait for seconds.
    storage._link.connection._pause = lambda attempts: 0.02  # type: ignore[method-assign]
    if history is None:
        database = ZODB.DB(storage)
    else:
        path = Path(history)
        database = ZODB.DB(Recording(storage, HistoryFile(path), path.stem))
    manager = TransactionManager()
    connection = database.open(manager)
    print("ready", flush=True)
    while not end.is_set():
        manager.begin()
        try:
            connection.root()[counter]["value"] += 1
            manager.commit()
            counted.commits += 1
        except CommitInDoubt as error:
            print(error, file=sys.stderr)
            manager.abort()
            counted.in_doubt += 1
        except TransientError:
            manager.abort()
            counted.retries += 1
    connection.close()
    database.close()
    return counted


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.outcome.counter", description=__doc__)
    default = Campaign()
    parser.add_argument("--server", choices=("zeotwisted", "ZEO"), default=default.server)
    parser.add_argument("--protocol", type=int, choices=(5, 6), default=default.protocol)
    parser.add_argument("--storage", choices=sorted(STORAGES), default=default.storage)
    parser.add_argument("--fault", choices=("cut", "kill"), default=default.fault)
    parser.add_argument("--faults", type=int, default=default.faults)
    parser.add_argument("--clients", type=int, default=default.clients)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument(
        "--no-record", dest="record", action="store_false", help="all with the same description"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = vars(parser.parse_args())
    child = options.pop("child")
    if child is not None:
        print(json.dumps(asdict(_count(*json.loads(child)))))
        return 0
    campaign = Campaign(**options)
    with tempfile.TemporaryDirectory() as directory:
        result = run(campaign, Path(directory))
    counted = result.counted
    version = 5 if campaign.server == "ZEO" else campaign.protocol
    print(
        f"{campaign.server}, version {version}, {campaign.storage}, {campaign.fault}: "
        f"{result.faults} faults, {counted.commits} commits, of which {counted.found} were found, "
        f"{counted.retries} retries, {counted.in_doubt} in doubt, counter {result.counter}"
        + (f", {len(result.violations)} violations" if campaign.record else "")
    )
    for violation in result.violations:
        print(violation, file=sys.stderr)
    right = result.counter == counted.commits and not counted.in_doubt and not result.violations
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
