"""Look for commits that are counted wrongly: a counter must never be off by one.

Several clients' processes increment one counter, all with the same data and the same description.
Meanwhile the server's process is killed, or the clients' connections are cut at some frame of some
commit: before or after it is passed on, in either direction, or with the frame held back and
delivered when the client is gone. Each client counts the commits that it was told of, and tries
again what it was told did not happen. In the end the counter is the sum of what they counted.

Run ``python -m tests.outcome.counter --help`` in the root of the checkout.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from persistent.mapping import PersistentMapping
from transaction import TransactionManager
from transaction.interfaces import TransientError

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
    """

    server: str = "zeotwisted"
    protocol: int = 6
    storage: str = "filestorage"
    fault: str = "cut"
    faults: int = 1000
    clients: int = 3
    seed: int = 0


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
    """

    counter: int
    faults: int
    counted: Counted


def run(campaign: Campaign, directory: Path, timeout: float = 120.0) -> Result:
    """Run a campaign in new processes, with a new database in `directory`.

    :param timeout: how many seconds the clients may take to end after the last fault.
    """
    with ExitStack() as stack:
        daemon = Daemon(directory, campaign.server, campaign.protocol, campaign.storage)
        stack.callback(daemon.stop)
        cutter = Cutter(daemon.address, random.Random(campaign.seed), campaign.fault == "cut")
        stack.callback(cutter.close)
        _prepare(daemon.address)
        clients = []
        for _ in range(campaign.clients):
            process = _start(cutter.address)
            clients.append(process)
            stack.callback(process.wait)
            stack.callback(process.kill)
        for process in clients:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise RuntimeError("a client does not start")
        if campaign.fault == "cut":
            cutter.cut(campaign.faults)
        else:
            _kill(daemon, campaign)
        total = Counted()
        for process in clients:
            output, _ = process.communicate("\n", timeout=timeout)
            if process.returncode:
                raise RuntimeError("a client has failed")
            total.add(Counted(**json.loads(output)))
        return Result(_counter(daemon.address), campaign.faults, total)


def _kill(daemon: Daemon, campaign: Campaign) -> None:
    chance = random.Random(campaign.seed)
    for _ in range(campaign.faults):
        # The clients need some time to come back, and are to be in the midst of commits then.
        time.sleep(chance.uniform(0.05, 0.5))
        daemon.kill()
        daemon.start()


def _database(address: Any) -> Any:
    import zeotwisted

    return zeotwisted.DB(address, wait_timeout=60)


def _prepare(address: Any) -> None:
    database = _database(address)
    with database.transaction() as connection:
        connection.root()["counter"] = PersistentMapping(value=0)
    database.close()


def _counter(address: Any) -> int:
    database = _database(address)
    with database.transaction() as connection:
        value: int = connection.root()["counter"]["value"]
    database.close()
    return value


def _start(address: Any) -> subprocess.Popen[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.outcome.counter", "--child", json.dumps(address)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        text=True,
    )


def _count(address: Any) -> Counted:
    """Increment until there is a line to read."""
    from zeotwisted.clientstorage.commit import transaction as module
    from zeotwisted.exceptions import CommitInDoubt

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
    database = _database(tuple(address))
    manager = TransactionManager()
    connection = database.open(manager)
    # A server that fails every time has its clients wait for seconds.
    database.storage._link.connection._pause = lambda attempts: 0.02
    print("ready", flush=True)
    while not end.is_set():
        manager.begin()
        try:
            connection.root()["counter"]["value"] += 1
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
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = vars(parser.parse_args())
    child = options.pop("child")
    if child is not None:
        print(json.dumps(asdict(_count(json.loads(child)))))
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
    )
    return 0 if result.counter == counted.commits and not counted.in_doubt else 1


if __name__ == "__main__":
    raise SystemExit(main())
