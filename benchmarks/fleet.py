"""How much memory many clients of a large database take: ``python -m benchmarks.fleet``.

Each client walks short ranges at random places of a folder with many objects, and looks up single
ones in between. The figures are by how much the memory of the daemon has grown since it has opened
the database, and that of a process with some of the clients, for each of them. It needs Linux, and
about 400 bytes on the disk for each object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from BTrees.LOBTree import LOBTree
from persistent.mapping import PersistentMapping
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from .contenders import CONTENDERS, Contender
from .makes import open_client
from .stage import MIB, command, environment
from .usage import cpu_time, resident_memory

_CACHE = 20 * MIB

#: What a client does in a row: a walk over some objects, and some look-ups.
_WALK = 100
_LOOKUPS = 20


def _fill(path: Path, objects: int) -> None:
    database = DB(FileStorage(str(path)))
    with database.transaction() as connection:
        connection.root()["folder"] = LOBTree()
    for first in range(0, objects, 5000):
        with database.transaction() as connection:
            folder = connection.root()["folder"]
            for number in range(first, min(first + 5000, objects)):
                folder[number] = PersistentMapping(number=number, title=f"object {number}")
    database.close()


def _visit(make: str, host: str, port: int, clients: int, rows: int, objects: int) -> None:
    """Open some clients, let them walk, say what they take, and wait for the end of the input."""
    # With all that is imported, and the memory that it leaves free.
    DB(open_client(make, (host, port), _CACHE)).close()
    before = resident_memory(os.getpid())
    opened = [DB(open_client(make, (host, port), _CACHE), cache_size=400) for _ in range(clients)]
    choose = random.Random(os.getpid())
    for _ in range(rows):
        for database in opened:
            with database.transaction() as connection:
                folder: Any = connection.root()["folder"]
                first = choose.randrange(objects - _WALK)
                for each in folder.values(first, first + _WALK - 1):
                    each["number"]
                for _ in range(_LOOKUPS):
                    folder[choose.randrange(objects)]["number"]
    print(resident_memory(os.getpid()) - before, flush=True)
    sys.stdin.read()
    for database in opened:
        database.close()


def _measure(contender: Contender, options: argparse.Namespace, folder: Path) -> None:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command(*arguments),
            cwd=folder,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    def line(process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None
        return json.loads(process.stdout.readline())

    try:
        daemon = start("daemon", contender.daemon or "", str(folder / "Data.fs"))
        host, port = line(daemon)
        before, used = resident_memory(daemon.pid), cpu_time(daemon.pid)
        arguments = [options.clients, options.rows, options.objects]
        child = json.dumps([contender.client, host, port, *arguments])
        visitors = [start("fleet", "--child", child) for _ in range(options.processes)]
        sizes = [line(each) for each in visitors]
        grown = resident_memory(daemon.pid) - before
        print(
            f"{contender.name:16} daemon {before / MIB:6.1f} MiB at the start, {grown / MIB:6.1f} "
            f"more, {cpu_time(daemon.pid) - used:6.1f} s of CPU   "
            f"each client {sum(sizes) / len(sizes) / options.clients / MIB:6.1f} MiB",
            flush=True,
        )
    finally:
        for process in reversed(started):
            process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000_000, help="default: 1000000")
    parser.add_argument("--processes", type=int, default=4, help="of clients; default: 4")
    parser.add_argument("--clients", type=int, default=25, help="of each process; default: 25")
    parser.add_argument("--rows", type=int, default=40, help="walks of each client; default: 40")
    parser.add_argument(
        "--contenders",
        nargs="+",
        default=["zeo", "zeotwisted-off", "zeotwisted"],
        metavar="NAME",
    )
    parser.add_argument("--dir", help="where the databases are put for the time being")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _visit(*json.loads(options.child))
        return 0
    with tempfile.TemporaryDirectory(dir=options.dir) as top:
        full = Path(top) / "full"
        full.mkdir()
        _fill(full / "Data.fs", options.objects)
        for name in options.contenders:
            folder = Path(top) / name
            shutil.copytree(full, folder)
            _measure(CONTENDERS[name], options, folder)
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
