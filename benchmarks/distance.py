"""Applications at a distance from their daemon: ``python -m benchmarks.distance --help``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from .contenders import CONTENDERS, Needs
from .makes import missing
from .measures.distance import DISTANCE, ROW, USUAL
from .program import run_rounds
from .report import Series, as_json, failures, number, ratio_text, table

__all__ = ["as_table"]

_CONTENDERS = ("zeo", "zeotwisted-off", "zeotwisted", "zeotwisted-read-ahead")

#: The figures, what heads them, and whether their ratio to ZEO is told.
_COLUMNS = {
    "time": ("ms", True),
    "round trips": ("round trips", True),
    "received": ("kB", True),
    "unused": ("unused", False),
    "daemon": ("daemon CPU ms", True),
    "client": ("client CPU ms", False),
    "late": ("late us", False),
}


def main() -> int:
    """Do what the command's arguments say; return the exit status."""
    options = _parse_arguments()
    if options.dir:
        os.environ["TMPDIR"] = options.dir
    reasons = {name: missing(CONTENDERS[name].client) for name in options.contenders}
    absent = {name: reason for name, reason in reasons.items() if reason}
    reports = {}
    status = 0
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for distance in options.round_trip:
            all_series = [
                Series(DISTANCE[workload], CONTENDERS[contender])
                for workload in options.workloads
                for contender in options.contenders
                if contender not in absent
            ]
            round_trip = None if distance == "none" else float(distance) / 1000
            run_rounds(all_series, Path(folder), options, round_trip)
            report = as_json(all_series, vars(options), absent)
            title = "no relay" if round_trip is None else f"a round trip of {distance} ms"
            print(f"{title}, load of the machine {os.getloadavg()[0]:.1f}\n")
            print(as_table(report), flush=True)
            print()
            reports[distance] = report
            status |= any(series.failure for series in all_series)
    if options.json:
        Path(options.json).write_text(json.dumps(reports, indent=2) + "\n")
    return status


def as_table(report: dict[str, Any]) -> str:
    """Lay out a row for each workload and contender: medians, and ratios to ZEO."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for figure in report["figures"]:
        workload, _, name = figure["figure"].rpartition("/")
        rows.setdefault((workload, figure["contender"]), {})[name] = figure
    header = ["workload", "contender"]
    for title, has_ratio in _COLUMNS.values():
        header += [title, "x ZEO"] if has_ratio else [title]
    lines = [[*names, *_cells(figures)] for names, figures in rows.items()]
    return "\n\n".join([table(header, lines, 2), *failures(report)])


def _cells(figures: dict[str, Any]) -> list[str]:
    cells = []
    for name, (_, has_ratio) in _COLUMNS.items():
        cells.append(_value(figures[name]["median"], is_count=not ROW[name]))
        if has_ratio:
            cells.append(ratio_text(figures[name]["ratio"]))
    return cells


def _value(value: float | None, is_count: bool) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if is_count else number(value)


def _round_trip(text: str) -> str:
    if text != "none" and not 0 <= float(text) <= 1000:
        raise ValueError(text)
    return text


def _parse_arguments() -> argparse.Namespace:
    fits = [
        name
        for name, contender in CONTENDERS.items()
        if not contender.lacks & {Needs.DAEMON, Needs.DATABASE}
        if contender.daemon is not None and "postgres" not in contender.daemon
    ]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.distance", description=__doc__)
    parser.add_argument(
        "--round-trip",
        type=_round_trip,
        nargs="+",
        default=["1"],
        metavar="MS",
        help="milliseconds, or none: without the relay, which takes time of its own; default: 1",
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=fits,
        default=list(_CONTENDERS),
        metavar="NAME",
        help=f"of {', '.join(fits)}; default: {' '.join(_CONTENDERS)}",
    )
    parser.add_argument(
        "--workloads",
        nargs="+",
        choices=list(DISTANCE),
        default=USUAL,
        metavar="NAME",
        help=f"of {', '.join(DISTANCE)}; default: {' '.join(USUAL)}",
    )
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument(
        "--dir", help="where the databases are put for the time being; default: the system's choice"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=300,
        metavar="SECONDS",
        help="how long a client may take for one part of a workload; default: 300",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="do less of everything, for a first impression; default: 1",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
