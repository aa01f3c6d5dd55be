"""The chart of a report."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from benchmarks.chart import as_svg

_MACHINE = {
    "python": "3.11.7",
    "cpus": 2,
    "versions": {"ZEO": "6.2", "Twisted": "26.10.0", "ZODB": None},
}
_SVG = "{http://www.w3.org/2000/svg}"


def _figure(name: str, contender: str, unit: str, ratio: float, *limits: float) -> dict[str, Any]:
    goals = [{"limit": limit, "to": "zeo", "above": None} for limit in limits]
    return {
        "figure": name,
        "title": f"{name} & more",
        "unit": unit,
        "contender": contender,
        "ratio": ratio,
        "goals": goals,
    }


_REPORT = {
    "machine": _MACHINE,
    "options": {"rounds": 3},
    "figures": [
        _figure("time", "zeotwisted", "us", 0.5, 0.4),
        _figure("time", "relstorage", "us", 7.0),
        _figure("rate", "zeotwisted", "/s", 4.0, 2.0),
        _figure("other", "zeotwisted", "us", 0.9),
    ],
}


def _bars(svg: str, kind: str) -> list[float]:
    rectangles = ElementTree.fromstring(svg).findall(f"{_SVG}rect")
    # The first of each kind belongs to the legend.
    return [float(bar.get("width", "")) for bar in rectangles if bar.get("class") == kind][1:]


def test_rates_are_turned_round() -> None:
    time, rate = _bars(as_svg(_REPORT), "bar0")
    assert time == 2 * rate


def test_what_is_too_long_is_cut_off() -> None:
    svg = as_svg(_REPORT, ["zeotwisted", "relstorage"])
    (long,) = _bars(svg, "bar1")
    assert long == 3 * _bars(svg, "bar0")[0]
    assert ">7.00</text>" in svg


def test_goals_are_marked() -> None:
    lines = ElementTree.fromstring(as_svg(_REPORT)).findall(f"{_SVG}line")
    # One of them in the legend
    assert sum(line.get("class") == "goal" for line in lines) == 3
