"""The figures of all rounds, as JSON and as a table: ``python -m benchmarks.report FILE.json ...``.

The table is made from the JSON alone, also from that of several runs of the program.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from .contenders import Contender
from .figures import BASELINE, UNITS, Figure, Goal
from .measures import Measure
from .stage import Usage

__all__ = [
    "OURS",
    "Series",
    "as_json",
    "as_table",
    "failures",
    "number",
    "ratio_text",
    "read",
    "table",
]

#: The contender that the goals are about.
OURS = "zeotwisted"

_DISTRIBUTIONS = ("zeotwisted", "Twisted", "msgpack", "ZEO", "ZODB", "uvloop", "RelStorage")


@dataclass
class Series:
    """What one contender achieved in one measure.

    :ivar rounds: the values of the figures, for each round. One may be absent in all of them.
    :ivar failure: why there is nothing. One failed round spoils it.
    """

    measure: Measure
    contender: Contender
    rounds: list[dict[str, float]] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)
    failure: str | None = None

    def values(self, figure: Figure) -> list[float]:
        if self.failure:
            return []
        unit = UNITS[figure.unit]
        return [values[figure.name] * unit for values in self.rounds if figure.name in values]


def _ratio(own: Sequence[float], other: Sequence[float], floor: Sequence[float]) -> float | None:
    """Return the median of the rounds' ratios.

    Only what ran side by side is compared, so that a machine that gets slower in the middle of it
    all does not tilt the result.
    """
    ratios = [(a - c) / (b - c) for a, b, c in zip(own, other, floor, strict=False) if b > c]
    return median(ratios) if ratios else None


def _goal_as_json(goal: Goal, own: list[float], all_values: dict[str, list[float]]) -> Any:
    floor = all_values.get(goal.above, []) if goal.above else [0.0] * len(own)
    reached = _ratio(own, all_values.get(goal.to, []), floor)
    met = None if reached is None else goal.is_met(reached)
    return {**asdict(goal), "reached": reached, "met": met}


def as_json(
    all_series: Iterable[Series], options: dict[str, Any], absent: dict[str, str]
) -> dict[str, Any]:
    """Return all there is to know.

    :param absent: the contenders that did not take part, and why.
    """
    all_series = list(all_series)
    figures = []
    for series in all_series:
        name = series.measure.name
        beside = [other for other in all_series if other.measure.name == name]
        for figure in series.measure.figures:
            if figure.of_daemon and series.contender.daemon is None:
                continue
            all_values = {other.contender.name: other.values(figure) for other in beside}
            own = series.values(figure)
            goals = figure.goals if series.contender.name == OURS else ()
            figures.append(
                {
                    "measure": name,
                    "figure": figure.name,
                    "title": figure.title,
                    "unit": figure.unit,
                    "contender": series.contender.name,
                    "rounds": own,
                    "median": median(own) if own else None,
                    "ratio": _ratio(own, all_values.get(BASELINE, []), [0.0] * len(own)),
                    "goals": [_goal_as_json(goal, own, all_values) for goal in goals],
                    "usage": [asdict(usage) for usage in series.usages],
                    "failure": series.failure,
                }
            )
    order = list(dict.fromkeys(figure["figure"] for figure in figures))
    figures.sort(key=lambda figure: order.index(figure["figure"]))
    return {
        "machine": {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
            "load average": os.getloadavg(),
            "versions": {name: _version(name) for name in _DISTRIBUTIONS},
        },
        "options": options,
        "figures": figures,
        "absent": absent,
    }


def read(paths: Iterable[str]) -> dict[str, Any]:
    """Return the report that is in these files; the machine is that of the first."""
    reports = [json.loads(Path(path).read_text()) for path in paths]
    figures = [figure for report in reports for figure in report["figures"]]
    absent = {name: reason for report in reports for name, reason in report["absent"].items()}
    return {**reports[0], "figures": figures, "absent": absent}


def as_table(report: dict[str, Any]) -> str:
    tables = [_figures_table(report["figures"]), _goals_table(report["figures"])]
    return "\n\n".join(part for part in (*tables, *failures(report)) if part)


def failures(report: dict[str, Any]) -> list[str]:
    """Return a line for each reason why figures are not there."""
    failed: dict[tuple[str, str], list[str]] = {}
    for figure in report["figures"]:
        if figure["failure"]:
            key = figure["contender"], figure["failure"]
            failed.setdefault(key, []).append(figure["figure"])
    lines = [f"{name} failed in {', '.join(names)}: {why}" for (name, why), names in failed.items()]
    return lines + [f"{name} is absent: {reason}" for name, reason in report["absent"].items()]


def _figures_table(figures: list[dict[str, Any]]) -> str:
    rows = []
    for figure in figures:
        row = [figure["title"], figure["contender"], figure["unit"]]
        values = figure["rounds"]
        if values:
            row += [
                number(figure["median"]),
                f"{number(min(values))}..{number(max(values))}",
                ratio_text(figure["ratio"]),
            ]
        else:
            row += ["failed", "", ""]
        rows.append(row)
    return table(["figure", "contender", "unit", "median", "min..max", "x ZEO"], rows, 3)


def _goals_table(figures: list[dict[str, Any]]) -> str:
    rows = []
    for figure in figures:
        for goal in figure["goals"]:
            against = goal["to"] if goal["to"] != BASELINE else "ZEO"
            if goal["above"]:
                against += f", above {goal['above']}"
            rows.append(
                [
                    figure["title"],
                    against,
                    f"{goal['kind']} {goal['limit']:.2f}",
                    ratio_text(goal["reached"]),
                    {True: "met", False: "MISSED", None: "unknown"}[goal["met"]],
                ]
            )
    return table(["goal of zeotwisted", "x", "goal", "reached", ""], rows, 3) if rows else ""


def table(header: list[str], rows: list[list[str]], left: int) -> str:
    """Lay out words in the first `left` columns, and numbers in the others."""
    rows = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if index < left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)


def ratio_text(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None  # not installed, or a checkout on the path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.json")
    print(as_table(read(parser.parse_args().files)))


if __name__ == "__main__":
    main()
