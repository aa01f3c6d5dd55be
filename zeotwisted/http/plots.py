"""Plots of the last minutes, as lines in a picture of fixed size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import NamedTuple

from .history import SPAN, Point
from .words import NOTHING, count, short

__all__ = ["HEIGHT", "WIDTH", "Plot", "plots"]

#: The size of a picture; the page scales it.
WIDTH, HEIGHT = 300, 80

#: How much room (of the height) stays free above the highest point.
_MARGIN = 4


class Plot(NamedTuple):
    """One plot.

    :ivar key: its name in the page.
    :ivar lines: the points of each line, as SVG has them. A gap begins a new line.
    :ivar top: what the upper edge stands for.
    :ivar now: the last value.
    :ivar bottom: what the lower edge stands for.
    """

    key: str
    title: str
    lines: Sequence[str]
    top: str
    now: str
    bottom: str


def _rate(value: float) -> str:
    return f"{count(value)}/s" if value >= 10 or value == 0 else f"{value:.2g}/s"


class _Kind(NamedTuple):
    """A plot, and what it shows of a point.

    The upper edge stands for `least` or more. The lower one stands for `lowest`: if it is not 0,
    equal distances are equal ratios, so that one slow call does not hide all others.
    """

    key: str
    title: str
    pick: Callable[[Point], float | None]
    text: Callable[[float], str]
    least: float
    lowest: float


def _load_seconds(point: Point) -> float | None:
    return point.load_seconds


def _commit_seconds(point: Point) -> float | None:
    return point.commit_seconds


_KINDS = (
    _Kind("loads", "Loads per second", lambda point: point.loads, _rate, 10.0, 0.0),
    _Kind("commits", "Commits per second", lambda point: point.commits, _rate, 1.0, 0.0),
    _Kind("load-time", "95 % of loads within", _load_seconds, short, 0.01, 1e-5),
    _Kind("commit-time", "95 % of commits within", _commit_seconds, short, 1.0, 1e-3),
)


def plots(points: Sequence[Point], now: float) -> list[Plot]:
    """Return the plots of what happened.

    :param now: the time at the right edge.
    """
    return [_plot(kind, [(each.time, kind.pick(each)) for each in points], now) for kind in _KINDS]


def _plot(kind: _Kind, values: Sequence[tuple[float, float | None]], now: float) -> Plot:
    highest = max((value for _, value in values if value is not None), default=0.0)
    top = _round_up(highest, kind.least)
    bottom = kind.text(kind.lowest) if kind.lowest else "0"
    lines: list[list[str]] = [[]]
    for time, value in values:
        if value is None:
            lines.append([])
            continue
        x = WIDTH * (1 - (now - time) / SPAN)
        y = HEIGHT - (HEIGHT - _MARGIN) * _part(value, kind.lowest, top)
        if x >= 0:
            lines[-1].append(f"{x:.1f},{y:.1f}")
    last = values[-1][1] if values else None
    drawn = [" ".join(line if len(line) > 1 else line * 2) for line in lines if line]
    shown = NOTHING if last is None else kind.text(last)
    return Plot(kind.key, kind.title, drawn, kind.text(top), shown, bottom)


def _part(value: float, lowest: float, top: float) -> float:
    """Return how high a value is, from 0 (the lower edge) to 1."""
    if not lowest:
        return value / top
    return log(max(value, lowest) / lowest) / log(top / lowest)


def _round_up(value: float, least: float) -> float:
    """Return 1, 2 or 5 times a power of ten that is not less than a value."""
    top = least
    factors = (2.0, 2.5, 2.0)
    step = 0
    while top < value:
        top *= factors[step % 3]
        step += 1
    return top
