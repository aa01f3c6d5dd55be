"""A daemon on each host, and what it saves over a line: ``python -m benchmarks.hostcache --help``.

Fresh processes walk through the same objects: one that uses the daemon at the end of the line, and
two that use their host's daemon, one after the other. The second one of these finds what the first
one has loaded. Each round has a fresh daemon of each kind.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from zeotwisted import localserver

from .contenders import CONTENDERS
from .databases import Databases
from .measures.distance import COUNTS, walk
from .report import number, table
from .stage import Stage

__all__ = ["measure"]

_WORKLOADS = ("folder", "tree-depth", "chain", "lookups", "catalog", "page")

#: Room for everything, in MB.
_CACHE = 200

_HEADER = ("workload", "direct ms", "first ms", "first/direct", "second ms", "second/first")


@contextmanager
def _host(server: Any, folder: Path, read_ahead: str) -> Iterator[Any]:
    """Start a host's daemon, with a cache file; yield its address."""
    storage = (
        f"%import zeotwisted\n<clientstorage 1>\nserver {server[0]}:{server[1]}\n"
        f"client host\nvar {folder}\ncache-size {_CACHE}MB\nread-ahead {read_ahead}\n"
        "</clientstorage>"
    )
    address, stop = localserver.server(
        storage_conf=storage, zeo_conf={"address": str(folder / "zeo.sock")}, threaded=False
    )
    try:
        yield address
    finally:
        stop()


def measure(stage: Stage, workload: str, read_ahead: str = "auto") -> dict[str, float]:
    """Return the seconds of each walk."""
    count = stage.count(COUNTS.get(workload, 400))
    order = stage.order
    times = {}

    def perform(address: Any = None) -> float:
        asked = order(walk, connects_itself=True, name=workload, count=count, seed=stage.seed)
        asked["address"] = address or asked["address"]
        return stage.perform(asked).seconds

    with stage.daemon("objects"):
        times["direct"] = perform()
    # Another daemon, which has learned nothing of the walk.
    with stage.daemon("objects"):
        server = order(walk)["address"]
        with _host(server, stage.folder, read_ahead) as address:
            times["first"] = perform(address)
            times["second"] = perform(address)
    return times


def main() -> int:
    """Do what the command's arguments say; return the exit status."""
    options = _parse_arguments()
    contender = CONTENDERS["zeotwisted" if options.read_ahead == "auto" else "zeotwisted-off"]
    reports: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        databases = Databases(Path(folder))
        for round in range(1, options.rounds + 1):
            for workload in options.workloads:
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    stage = Stage(
                        contender,
                        Path(place),
                        databases,
                        round,
                        300.0,
                        options.scale,
                        options.round_trip / 1000,
                    )
                    times = measure(stage, workload, options.read_ahead)
                    reports.setdefault(workload, []).append(times)
    print(f"a round trip of {options.round_trip:g} ms, read-ahead {options.read_ahead}\n")
    print(table(list(_HEADER), [_row(name, rounds) for name, rounds in reports.items()], 1))
    if options.json:
        Path(options.json).write_text(json.dumps(reports, indent=2) + "\n")
    return 0


def _row(workload: str, rounds: list[dict[str, float]]) -> list[str]:
    def ms(name: str) -> str:
        return number(median(1000 * times[name] for times in rounds))

    def ratio(one: str, other: str) -> str:
        return f"{median(times[one] / times[other] for times in rounds):.2f}"

    first, second = ratio("first", "direct"), ratio("second", "first")
    return [workload, ms("direct"), ms("first"), first, ms("second"), second]


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostcache", description=__doc__)
    parser.add_argument("--round-trip", type=float, default=1.0, metavar="MS", help="default: 1")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--workloads", nargs="+", choices=_WORKLOADS, default=_WORKLOADS)
    parser.add_argument(
        "--read-ahead",
        choices=("auto", "false"),
        default="auto",
        help="false: each record takes a round trip; default: auto",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the times to FILE")
    parser.add_argument("--scale", type=float, default=1.0, help="do less of everything")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
