"""The figures of all rounds, and how they are shown."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from .contenders import BASELINE, Contender
from .measures import Measure

__all__ = ["Figure", "as_json", "as_table"]

_UNITS = {"us": 1e6, "ms": 1e3}


@dataclass
class Figure:
    """What one contender achieved in one measure.

    :ivar rounds: the median of each round, in the measure's unit.
    :ivar failure: why there is no figure. One failed round spoils it.
    """

    measure: Measure
    contender: Contender
    rounds: list[float] = field(default_factory=list)
    failure: str | None = None

    def add(self, seconds: float) -> None:
        self.rounds.append(seconds * _UNITS[self.measure.unit])

    def ratio_to(self, baseline: Figure | None) -> float | None:
        """Return the median of the rounds' ratios.

        Only what ran side by side is compared, so that a machine that gets slower in the
        middle of it all does not tilt the result.
        """
        if self.failure or baseline is None or baseline.failure or not self.rounds:
            return None
        return median(
            own / theirs for own, theirs in zip(self.rounds, baseline.rounds, strict=True)
        )


def _with_ratios(figures: Iterable[Figure]) -> list[tuple[Figure, float | None]]:
    figures = list(figures)
    baselines = {f.measure.name: f for f in figures if f.contender.name == BASELINE}
    return [(figure, figure.ratio_to(baselines.get(figure.measure.name))) for figure in figures]


def as_table(figures: Iterable[Figure]) -> str:
    header = ["measure", "contender", "unit", "median", "min..max", "x ZEO", "goal"]
    rows = [header]
    failures: dict[tuple[str, str], list[str]] = {}
    for figure, ratio in _with_ratios(figures):
        measure, contender = figure.measure, figure.contender
        row = [measure.title, contender.name, measure.unit]
        if figure.failure:
            row += ["failed", "", "", ""]
            failures.setdefault((contender.name, figure.failure), []).append(measure.name)
        else:
            goal = measure.goal if contender.name == "zeotwisted" else None
            row += [
                _number(median(figure.rounds)),
                f"{_number(min(figure.rounds))}..{_number(max(figure.rounds))}",
                "" if ratio is None else f"{ratio:.2f}",
                "" if goal is None else f"{goal:.2f}",
            ]
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    left = 3  # the first columns are words, the others numbers
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    if failures:
        lines.append("")
    for (name, reason), measures in failures.items():
        lines.append(f"{name} failed in {', '.join(measures)}: {reason}")
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def as_json(figures: Iterable[Figure], options: dict[str, Any]) -> dict[str, Any]:
    return {
        "machine": {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "load average": os.getloadavg(),
            "versions": {name: _version(name) for name in ("zeotwisted", "ZEO", "ZODB", "Twisted")},
        },
        "options": options,
        "figures": [
            {
                "measure": figure.measure.name,
                "contender": figure.contender.name,
                "unit": figure.measure.unit,
                "rounds": figure.rounds,
                "median": median(figure.rounds) if figure.rounds else None,
                "ratio": ratio,
                "goal": figure.measure.goal,
                "failure": figure.failure,
            }
            for figure, ratio in _with_ratios(figures)
        ],
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None  # a checkout on the path
