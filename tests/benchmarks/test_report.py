"""What is made of the values of the rounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.contenders import CONTENDERS
from benchmarks.figures import Figure, at_least, at_most
from benchmarks.measures import Measure
from benchmarks.report import Series, as_json, as_table, read
from benchmarks.stage import Stage, Usage


def _never(stage: Stage) -> dict[str, float]:
    raise AssertionError("nobody plays here")


_TIME = Figure("time", "a time", "ms", (at_most(0.5), at_most(0.4, above="file")))
_RATE = Figure("rate", "a rate", "/s", (at_least(2.0),))
_CPU = Figure("cpu", "processor", "us", of_daemon=True)
_MEASURE = Measure("both", _never, (_TIME, _RATE, _CPU))


def _series(contender: str, *rounds: tuple[float, float]) -> Series:
    values = [{"time": time, "rate": rate, "cpu": 1e-6} for time, rate in rounds]
    usages = [Usage(0.5, 1000, 0.25, 2000) for _ in rounds]
    return Series(_MEASURE, CONTENDERS[contender], values, usages)


@pytest.fixture
def report() -> dict[str, Any]:
    series = [
        _series("zeo", (0.010, 100), (0.020, 100), (0.012, 90)),
        _series("zeotwisted", (0.006, 150), (0.009, 160), (0.0072, 180)),
        _series("file", (0.002, 1000), (0.002, 1000), (0.002, 1000)),
    ]
    return as_json(series, {"rounds": 3}, {})


def _figure(report: dict[str, Any], figure: str, contender: str) -> dict[str, Any]:
    (found,) = [
        entry
        for entry in report["figures"]
        if (entry["figure"], entry["contender"]) == (figure, contender)
    ]
    return found


def test_ratios_are_those_of_rounds(report: dict[str, Any]) -> None:
    ours = _figure(report, "time", "zeotwisted")
    assert ours["median"] == pytest.approx(7.2)
    assert ours["rounds"] == pytest.approx([6, 9, 7.2])
    # 0.6, 0.45, 0.6; not the ratio of the medians
    assert ours["ratio"] == pytest.approx(0.6)


def test_goals(report: dict[str, Any]) -> None:
    plain, above = _figure(report, "time", "zeotwisted")["goals"]
    assert (plain["kind"], plain["limit"], plain["met"]) == ("at most", 0.5, False)
    # (6 - 2) / (10 - 2), (9 - 2) / (20 - 2), (7.2 - 2) / (12 - 2)
    assert above["reached"] == pytest.approx(0.5)
    assert above["met"] is False
    (rate,) = _figure(report, "rate", "zeotwisted")["goals"]
    assert rate["reached"] == pytest.approx(1.6)
    assert rate["met"] is False
    assert _figure(report, "rate", "zeo")["goals"] == []


def test_a_goal_without_its_contender_is_unknown() -> None:
    report = as_json([_series("zeotwisted", (0.006, 300))], {}, {})
    assert [goal["met"] for goal in _figure(report, "time", "zeotwisted")["goals"]] == [None] * 2
    assert "unknown" in as_table(report)


def test_no_daemon_no_figures_of_it(report: dict[str, Any]) -> None:
    contenders = [entry["contender"] for entry in report["figures"] if entry["figure"] == "cpu"]
    assert contenders == ["zeo", "zeotwisted"]


def test_usage_is_reported(report: dict[str, Any]) -> None:
    usage = _figure(report, "time", "zeo")["usage"]
    assert usage[0] == {
        "server_cpu": 0.5,
        "server_peak": 1000,
        "client_cpu": 0.25,
        "client_peak": 2000,
    }


def test_table_shows_goals_and_failures() -> None:
    failed = Series(_MEASURE, CONTENDERS["zeo-uvloop"], failure="client: it is broken")
    table = as_table(
        as_json(
            [_series("zeo", (1, 1)), _series("zeotwisted", (0.4, 3)), failed],
            {},
            {"bare": "nobody knows"},
        )
    )
    assert [line.split()[-1] for line in table.splitlines() if "at least" in line] == ["met"]
    assert "zeo-uvloop failed in time, rate, cpu: client: it is broken" in table
    assert "bare is absent: nobody knows" in table


def test_reports_are_put_together(report: dict[str, Any], tmp_path: Path) -> None:
    halves = report["figures"][:3], report["figures"][3:]
    names = []
    for number, figures in enumerate(halves):
        names.append(str(tmp_path / f"{number}.json"))
        Path(names[-1]).write_text(json.dumps({**report, "figures": figures}))
    assert as_table(read(names)) == as_table(report)
