"""How much memory one large transaction takes, on either side: ``python -m benchmarks.memory``.

A client commits many records in one transaction to a daemon with a FileStorage. The figures are by
how much the most memory that each process ever had is above what it had before. It needs Linux, and
three times the size of the transaction on the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

from .contenders import CONTENDERS, Contender
from .makes import open_client
from .stage import MIB, command, environment
from .usage import most_memory, resident_memory


def _commit(make: str, host: str, port: int, records: int, size: int) -> dict[str, float]:
    storage = open_client(make, (host, port), 20 * MIB)
    before = resident_memory(os.getpid())
    start = perf_counter()
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for number in range(records):
        storage.store(p64(number + 1), z64, p64(number) * (size // 8), "", txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    figures = {
        "seconds": perf_counter() - start,
        "client": most_memory(os.getpid()) - before,
    }
    storage.close()
    return figures


def _measure(contender: Contender, records: int, size: int, folder: Path) -> dict[str, float]:
    with subprocess.Popen(
        command("daemon", contender.daemon or "", str(folder / "Data.fs")),
        cwd=folder,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as daemon:
        assert daemon.stdin is not None and daemon.stdout is not None
        host, port = json.loads(daemon.stdout.readline())
        before = resident_memory(daemon.pid)
        child = json.dumps([contender.client, host, port, records, size])
        output = subprocess.run(
            command("memory", "--child", child),
            env=environment(),
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        ).stdout
        figures: dict[str, float] = json.loads(output.splitlines()[-1])
        figures["daemon"] = most_memory(daemon.pid) - before
        daemon.stdin.close()
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000, help="default: 100000")
    parser.add_argument("--size", type=int, default=10_000, help="of each, in bytes; 10000")
    parser.add_argument("--contenders", nargs="+", default=["zeo", "zeotwisted"], metavar="NAME")
    parser.add_argument("--dir", help="where the databases are put for the time being")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_commit(*json.loads(options.child))))
        return 0
    for name in options.contenders:
        with tempfile.TemporaryDirectory(dir=options.dir) as folder:
            figures = _measure(CONTENDERS[name], options.records, options.size, Path(folder))
        print(
            f"{name:16} client {figures['client'] / MIB:8.1f} MiB   "
            f"daemon {figures['daemon'] / MIB:8.1f} MiB   {figures['seconds']:6.1f} s",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
