"""A bar chart of ratios to ZEO: ``python -m benchmarks.chart FILE.json ... FILE.svg``.

It shows each figure for which there is a goal. What is counted per second is turned round, so that
a shorter bar is better everywhere. The chart brings its own background, so that it can be read on
light and on dark pages, whatever the page thinks of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from .figures import BASELINE
from .report import OURS, read

__all__ = ["as_svg"]

_WIDTH = 800
_LEFT = 290
_RIGHT = 60
_TOP = 64
_BOTTOM = 40
_BAR = 15
_GAP = 7

#: The ratio at the right edge. Longer bars are cut off there, and tell their length in figures.
_MOST = 1.5

_COLOURS = (("#2563a8", "#6cb0ff"), ("#9a6b1f", "#e0b060"), ("#7a7a7a", "#9a9a9a"))

_STYLE = """
text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
.title { font-weight: 600; font-size: 15px; }
.note { font-size: 11px; fill: #59636e; }
.page { fill: #ffffff; stroke: #d1d9e0; }
.grid { stroke: #d1d9e0; }
.one { stroke: #59636e; stroke-width: 1.5; }
.goal { stroke: #1a7f37; stroke-width: 2.5; }
"""

_DARK_STYLE = """
text { fill: #e6edf3; }
.note { fill: #9198a1; }
.page { fill: #0d1117; stroke: #3d444d; }
.grid { stroke: #3d444d; }
.one { stroke: #9198a1; }
.goal { stroke: #3fb950; }
"""


def as_svg(report: dict[str, Any], contenders: Sequence[str] = (OURS,)) -> str:
    """Draw a report; see `report.as_json`."""
    figures = report["figures"]
    with_goals = [figure for figure in figures if figure["goals"]]
    ratios = {
        (figure["figure"], figure["contender"]): _time_ratio(figure, figure["ratio"])
        for figure in figures
        if figure["ratio"]
    }
    shown = [name for name in contenders if any(key[1] == name for key in ratios)]
    rows: list[str] = []
    y = _TOP
    for figure in with_goals:
        bars = [
            (number, ratios[figure["figure"], name])
            for number, name in enumerate(shown)
            if (figure["figure"], name) in ratios
        ]
        height = _BAR * max(1, len(bars))
        rows.append(_text(_LEFT - 10, y + height / 2 + 4, figure["title"], "end"))
        for place, (number, ratio) in enumerate(bars):
            rows.extend(_bar(number, ratio, y + place * _BAR))
        rows.extend(
            _line(_x(_time_ratio(figure, goal["limit"])), y - 2, y + height + 2, "goal")
            for goal in figure["goals"]
            if goal["to"] == BASELINE and goal["above"] is None
        )
        y += height + _GAP
    height = y + _BOTTOM
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
            f'width="{_WIDTH}" height="{height}" role="img">',
            "<title>Time compared with ZEO</title>",
            f"<style>\n{_style()}\n</style>",
            f'<rect class="page" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" '
            'rx="6"/>',
            _text(20, 26, "Time compared with ZEO; a shorter bar is better", "start", "title"),
            *_legend(shown),
            *_grid(y),
            *rows,
            _text(20, height - 14, _note(report), "start", "note"),
            "</svg>\n",
        ]
    )


def _time_ratio(figure: dict[str, Any], ratio: float) -> float:
    return 1 / ratio if figure["unit"].endswith("/s") else ratio


def _style() -> str:
    light = [f".bar{number} {{ fill: {colour}; }}" for number, (colour, _) in enumerate(_COLOURS)]
    dark = [f".bar{number} {{ fill: {colour}; }}" for number, (_, colour) in enumerate(_COLOURS)]
    return "\n".join(
        [_STYLE.strip(), *light]
        + ["@media (prefers-color-scheme: dark) {", _DARK_STYLE.strip(), *dark, "}"]
    )


def _x(ratio: float) -> float:
    return _LEFT + min(ratio, _MOST) / _MOST * (_WIDTH - _LEFT - _RIGHT)


def _text(x: float, y: float, text: str, anchor: str, kind: str = "label") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _line(x: float, top: float, bottom: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" y1="{top:.1f}" x2="{x:.1f}" y2="{bottom:.1f}"/>'


def _bar(number: int, ratio: float, y: float) -> list[str]:
    end = _x(ratio)
    return [
        f'<rect class="bar{number % len(_COLOURS)}" x="{_LEFT}" y="{y + 1:.1f}" '
        f'width="{end - _LEFT:.1f}" height="{_BAR - 2}" rx="2"/>',
        # In a column of their own, where no line crosses them.
        _text(_WIDTH - 16, y + _BAR - 4, f"{ratio:.2f}", "end"),
    ]


def _legend(shown: Sequence[str]) -> list[str]:
    parts = []
    x = 20.0
    for number, name in enumerate(shown):
        colour = number % len(_COLOURS)
        parts.append(f'<rect class="bar{colour}" x="{x}" y="37" width="12" height="12" rx="2"/>')
        parts.append(_text(x + 18, 48, name, "start", "note"))
        x += 40 + 7 * len(name)
    parts.append(_line(x + 2, 37, 49, "goal"))
    parts.append(_text(x + 10, 48, "goal", "start", "note"))
    return parts


def _grid(bottom: float) -> list[str]:
    parts = []
    for tenths in range(0, int(_MOST * 10) + 1, 5):
        ratio = tenths / 10
        parts.append(_line(_x(ratio), _TOP - 4, bottom, "one" if ratio == 1 else "grid"))
        label = "ZEO" if ratio == 1 else f"{ratio:g}"
        parts.append(_text(_x(ratio), _TOP - 9, label, "middle", "note"))
    return parts


def _note(report: dict[str, Any]) -> str:
    machine = report["machine"]
    versions = machine["versions"]
    names = [f"{name} {versions[name]}" for name in ("ZEO", "Twisted", "ZODB") if versions[name]]
    names.append(f"Python {machine['python']}")
    rounds = report["options"].get("rounds")
    return f"Medians of {rounds} rounds; {', '.join(names)}; {machine['cpus']} processors."


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chart", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.json")
    parser.add_argument("chart", metavar="FILE.svg")
    parser.add_argument("--contenders", nargs="+", default=[OURS], metavar="NAME")
    options = parser.parse_args()
    Path(options.chart).write_text(as_svg(read(options.files), options.contenders))


if __name__ == "__main__":
    main()
