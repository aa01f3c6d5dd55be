"""Run the contenders in turn and report: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from .contenders import CONTENDERS, TLS
from .databases import Databases
from .measures import MEASURES
from .processes import RunFailed, run
from .report import Figure, as_json, as_table


def main() -> int:
    options = _parse_arguments()
    if options.tls:
        os.environ[TLS] = "yes"
    figures = {
        (measure, contender): Figure(MEASURES[measure], CONTENDERS[contender])
        for measure in options.measures
        for contender in options.contenders
        if measure not in CONTENDERS[contender].skips and not (options.tls and contender == "bare")
    }
    with tempfile.TemporaryDirectory(prefix="benchmarks-", dir=options.dir) as folder:
        _run_rounds(list(figures.values()), Path(folder), options.rounds, options.timeout)
    print(as_table(figures.values()))
    if options.json:
        report = as_json(figures.values(), {**vars(options), "json": None})
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    return 1 if any(figure.failure for figure in figures.values()) else 0


def _run_rounds(figures: list[Figure], folder: Path, rounds: int, timeout: float) -> None:
    """Let the contenders alternate in each measure, so that all of them meet the same weather."""
    databases = Databases(folder)
    for number in range(1, rounds + 1):
        for figure in figures:
            if figure.failure:
                continue  # it would most likely fail again, at the price of a timeout
            measure, contender = figure.measure, figure.contender
            _progress(f"round {number}/{rounds}: {measure.name} / {contender.name}")
            with tempfile.TemporaryDirectory(dir=folder) as run_folder:
                database = databases.copy(measure.database, Path(run_folder))
                try:
                    # The round is the seed: all contenders get the same oids in a round.
                    figure.add(run(contender, measure, Path(run_folder), database, number, timeout))
                except RunFailed as failure:
                    figure.failure = str(failure)
    _progress("")


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=list(CONTENDERS),
        default=list(CONTENDERS),
        metavar="NAME",
        help="default: all of " + ", ".join(CONTENDERS),
    )
    parser.add_argument(
        "--measures",
        nargs="+",
        choices=list(MEASURES),
        default=list(MEASURES),
        metavar="NAME",
        help="default: all of " + ", ".join(MEASURES),
    )
    parser.add_argument("--tls", action="store_true", help="all of them speak TLS; not bare")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--dir", help="where the databases are put for the time being; default: the system's choice"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=120,
        metavar="SECONDS",
        help="how long a client may take for one measure; default: 120",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
