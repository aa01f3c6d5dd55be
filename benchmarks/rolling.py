"""A rolling deployment at a distance, with warm starts and without them:
``python -m benchmarks.rolling --help``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from .contenders import CONTENDERS
from .databases import Databases
from .measures.rolling import Start, deploy
from .report import table
from .stage import RunFailed, Stage


def main() -> int:
    """Do what the command's arguments say; return the exit status."""
    options = _parse_arguments()
    found: dict[bool, list[Start]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.dir) as folder:
        databases = Databases(Path(folder))
        for number in range(1, options.rounds + 1):
            for warm, starts in found.items():
                with tempfile.TemporaryDirectory(dir=folder) as run:
                    stage = Stage(
                        CONTENDERS["zeotwisted"],
                        Path(run),
                        databases,
                        number,
                        options.timeout,
                        options.scale,
                        options.round_trip / 1000,
                    )
                    try:
                        starts += deploy(stage, options.processes, warm)
                    except RunFailed as failure:
                        print(failure)
                        return 1
    print(
        f"{options.processes} processes one after the other, a round trip of "
        f"{options.round_trip:g} ms, load of the machine {os.getloadavg()[0]:.1f}\n"
    )
    print(as_table(found[False], found[True]))
    return 0


def as_table(without: list[Start], with_it: list[Start]) -> str:
    """Lay out the medians of all processes."""
    rows = []
    for name, starts in (("without", without), ("with", with_it)):
        seconds = [start.seconds for start in starts]
        rows.append(
            [
                name,
                f"{median(seconds):.2f}",
                f"{min(seconds):.2f}..{max(seconds):.2f}",
                f"{median(start.first for start in starts):.2f}",
                f"{median(start.rate for start in starts):.3f}",
                f"{median(start.total for start in starts):.1f}",
                f"{median(start.brought for start in starts):.0f}",
            ]
        )
    ratio = median(start.seconds for start in with_it) / median(start.seconds for start in without)
    header = ["warm start", "s to 0.9", "min..max", "first hit rate", "steady", "all, s", "brought"]
    return f"{table(header, rows, 1)}\n\nratio of the times to 0.9: {ratio:.2f}"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rolling", description=__doc__)
    parser.add_argument("--round-trip", type=float, default=1.0, metavar="MS", help="default: 1")
    parser.add_argument("--processes", type=int, default=8, metavar="N", help="default: 8")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--dir", help="where the databases are put for the time being")
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="show fewer pages, for a first impression; default: 1",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
