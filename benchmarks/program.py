"""Run contenders in turn and report: what the programs have in common."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from .chart import as_svg
from .contenders import CONTENDERS, USUAL
from .databases import Databases
from .makes import TLS, missing
from .measures import Measure
from .report import Series, as_json, as_table
from .stage import RunFailed, Stage

__all__ = ["main", "run_rounds"]


def main(measures: Mapping[str, Measure], name: str, description: str | None) -> int:
    """Do what the command's arguments say; return the exit status."""
    options = _parse_arguments(measures, name, description)
    if options.tls:
        os.environ[TLS] = "yes"
    if options.dir:
        os.environ["TMPDIR"] = options.dir
    reasons = {name: missing(CONTENDERS[name].client) for name in options.contenders}
    if options.tls and "relstorage" in reasons:
        reasons["relstorage"] = "it is not set up for TLS here"
    all_series = [
        Series(measures[measure], CONTENDERS[contender])
        for measure in options.measures
        for contender in options.contenders
        if not reasons[contender]
        if not measures[measure].needs & CONTENDERS[contender].lacks
    ]
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        run_rounds(all_series, Path(folder), options)
    absent = {name: reason for name, reason in reasons.items() if reason}
    report = as_json(all_series, vars(options), absent)
    print(as_table(report))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=2) + "\n")
    if options.chart:
        Path(options.chart).write_text(as_svg(report))
    return 1 if any(series.failure for series in all_series) else 0


def run_rounds(
    all_series: list[Series],
    folder: Path,
    options: argparse.Namespace,
    round_trip: float | None = None,
) -> None:
    """Let the contenders alternate in each measure, so that all of them meet the same weather.

    :param round_trip: see `Stage`.
    """
    databases = Databases(folder)
    progress = Progress(options.rounds * len(all_series), sys.stderr)
    for number in range(1, options.rounds + 1):
        for series in all_series:
            if series.failure:
                progress.skip()  # it would most likely fail again, at the price of a timeout
                continue
            measure, contender = series.measure, series.contender
            progress.begin(f"round {number}/{options.rounds}: {measure.name} / {contender.name}")
            with tempfile.TemporaryDirectory(dir=folder) as run_folder:
                stage = Stage(
                    contender,
                    Path(run_folder),
                    databases,
                    number,
                    options.timeout,
                    options.scale,
                    round_trip,
                )
                try:
                    series.rounds.append(measure.play(stage))
                    series.usages.append(stage.usage)
                except RunFailed as failure:
                    series.failure = str(failure)
    progress.end()


class Progress:
    """Says which run is under way, and how long the rest will take.

    :param runs: how many there are.
    :param stream: where to say it. On a terminal, one line is written again and again; elsewhere,
        each run has a line.
    """

    def __init__(
        self, runs: int, stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._runs = runs
        self._stream = stream
        self._clock = clock
        self._start = clock()
        self._begun = 0
        self._skipped = 0

    def begin(self, what: str) -> None:
        """A run begins; the one before is over."""
        number = self._begun + self._skipped
        left = "time left not known yet"
        if self._begun:
            mean = (self._clock() - self._start) / self._begun
            left = f"about {_duration(mean * (self._runs - number))} left"
        self._begun += 1
        self._say(f"run {number + 1}/{self._runs}, {left}: {what}")

    def skip(self) -> None:
        """A run is left out."""
        self._skipped += 1

    def end(self) -> None:
        """All runs are over."""
        self._say("" if self._stream.isatty() else f"{self._begun} runs are done")

    def _say(self, text: str) -> None:
        line = f"\r\x1b[K{text}" if self._stream.isatty() else f"{text}\n"
        self._stream.write(line)
        self._stream.flush()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _parse_arguments(
    measures: Mapping[str, Measure], name: str, description: str | None
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: 5")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=list(CONTENDERS),
        default=USUAL,
        metavar="NAME",
        help="default: all of " + ", ".join(USUAL),
    )
    parser.add_argument(
        "--measures",
        nargs="+",
        choices=list(measures),
        default=list(measures),
        metavar="NAME",
        help="default: all of " + ", ".join(measures),
    )
    parser.add_argument("--tls", action="store_true", help="all that have a daemon speak TLS")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    parser.add_argument("--chart", metavar="FILE.svg", help="also draw them")
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
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="do less of everything, for a first impression; default: 1",
    )
    return parser.parse_args()
