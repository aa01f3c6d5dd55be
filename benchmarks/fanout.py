"""What it takes to tell many clients of a commit: ``python -m benchmarks.fanout --help``.

One client commits objects that no other client has ever loaded, and all others are told of them.
The figures are medians, for transactions of several numbers of objects:

- how many bytes one client is sent for a commit,
- how much processor time the daemon needs to tell all of them: what a commit takes with them, less
  what it takes without them,
- how much a process with a ZODB database needs to hear of a commit.

The row of one object shows what is left if a client is told no more than that there was a commit.
It needs Linux.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ZODB.utils import z64

from .bare import BareStorage
from .contenders import CONTENDERS
from .crowd import Crowd
from .makes import CONNECT_TIMEOUT, open_database
from .report import number, table
from .stage import MIB, command, environment
from .usage import cpu_time

__all__ = ["FanOut", "measure"]

Address = tuple[str, int]

#: How many commits to make when the crowd has connected: the kernel acknowledges the first packets
#: of a connection one by one, which takes the daemon's time, too.
_WARM_UP = 30


class FanOut(NamedTuple):
    """What a commit took, in one round."""

    #: How many bytes each client was sent.
    size: float
    #: The daemon's processor time (seconds): for a commit that hardly anybody is told of, and for
    #: one that all are told of.
    alone: float
    told: float
    #: The processor time (seconds) of one application that is told.
    application: float


class _Writer:
    """A client that changes the same objects again and again."""

    def __init__(self, address: Address, objects: Sequence[int]) -> None:
        self._storage = BareStorage(address, CONNECT_TIMEOUT)
        self._serials = {
            count: dict.fromkeys((self._storage.new_oid() for _ in range(count)), z64)
            for count in objects
        }
        self._commits = 0

    def commit(self, count: int, crowd: Crowd | None) -> None:
        """Change so many objects, and wait until the crowd knows it."""
        self._commits += 1
        self._storage.send_commit(self._serials[count], b"%d" % self._commits)
        heard = None if crowd is None else crowd.hear()
        tid = self._storage.receive_commit()
        if heard not in (None, tid):
            raise RuntimeError("they have heard of something else")
        self._serials[count] = dict.fromkeys(self._serials[count], tid)

    def close(self) -> None:
        self._storage.close()


def measure(
    contender: str,
    clients: int,
    objects: Sequence[int],
    commits: int,
    folder: Path,
    warm_up: int = _WARM_UP,
) -> dict[int, FanOut]:
    """Return the figures of one round for each number of objects, with a daemon of its own.

    :param contender: the name in `contenders.CONTENDERS`.
    :param commits: how many transactions to commit for each number, twice.
    :param warm_up: how many to commit before those that the crowd is told of.
    """
    make = CONTENDERS[contender].daemon or ""
    with _child("daemon", make, str(folder / "Data.fs"), folder=folder) as daemon:
        assert daemon.stdin is not None and daemon.stdout is not None
        host, port = json.loads(daemon.stdout.readline())
        address = (str(host), int(port))
        child = json.dumps([CONTENDERS[contender].client, *address])
        with (
            _child("fanout", "--child", child, folder=folder) as application,
            closing(_Writer(address, objects)) as writer,
            closing(Crowd(address, None)) as crowd,
        ):
            assert application.stdin is not None and application.stdout is not None
            application.stdout.readline()
            alone = {}
            for count in objects:
                heard = cpu_time(application.pid)
                seconds = _seconds(daemon.pid, writer, count, commits, None)
                alone[count] = seconds, (cpu_time(application.pid) - heard) / (commits + 1)
            crowd.connect(clients)
            for _ in range(warm_up):
                writer.commit(objects[0], crowd)
            figures = {}
            for count in objects:
                received = crowd.received
                told = _seconds(daemon.pid, writer, count, commits, crowd)
                size = (crowd.received - received) / clients / (commits + 1)
                figures[count] = FanOut(size, alone[count][0], told, alone[count][1])
            application.stdin.close()
        daemon.stdin.close()
    return figures


def _seconds(daemon: int, writer: _Writer, count: int, commits: int, crowd: Crowd | None) -> float:
    """Return the daemon's processor time for a commit."""
    writer.commit(count, crowd)
    before = cpu_time(daemon)
    for _ in range(commits):
        writer.commit(count, crowd)
    return (cpu_time(daemon) - before) / commits


def _child(module: str, *arguments: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(module, *arguments),
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _listen(make: str, host: str, port: int) -> None:
    """Be an application that does nothing, until the standard input ends."""
    database = open_database(make, (host, port), 20 * MIB)
    connection = database.open()
    print("ready", flush=True)
    sys.stdin.read()
    connection.close()
    database.close()


def _row(name: str, count: int, rounds: list[FanOut]) -> list[str]:
    telling = [each.told - each.alone for each in rounds]
    return [
        name,
        str(count),
        number(median(each.size for each in rounds)),
        number(median(telling) * 1e3),
        f"{number(min(telling) * 1e3)}..{number(max(telling) * 1e3)}",
        number(median(each.alone for each in rounds) * 1e3),
        number(median(each.application for each in rounds) * 1e6),
    ]


_HEADER = ["daemon", "objects", "bytes", "tell ms", "min..max", "else ms", "application us"]


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fanout", description="What it takes to tell clients of a commit."
    )
    parser.add_argument("--clients", type=int, default=1000, help="default: 1000")
    parser.add_argument(
        "--objects", type=int, nargs="+", default=[1, 10, 200, 1000], help="in a transaction"
    )
    parser.add_argument("--commits", type=int, default=30, help="of each size in a round; 30")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--contenders", nargs="+", default=["zeotwisted"], metavar="NAME")
    parser.add_argument("--dir", help="where the databases are put for the time being")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _listen(*json.loads(options.child))
        return 0
    figures: dict[str, list[dict[int, FanOut]]] = {name: [] for name in options.contenders}
    for _ in range(options.rounds):
        for name, rounds in figures.items():
            with tempfile.TemporaryDirectory(dir=options.dir) as folder:
                rounds.append(
                    measure(name, options.clients, options.objects, options.commits, Path(folder))
                )
    rows = [
        _row(name, count, [each[count] for each in rounds])
        for name, rounds in figures.items()
        for count in options.objects
    ]
    print(table(_HEADER, rows, 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
