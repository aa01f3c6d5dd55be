"""``zeotwisted check``: a plugin for Nagios, Icinga and monitors that run such plugins.

The exit codes are theirs: 0 good, 1 warning, 2 critical, 3 unknown, which is a mistake in the
arguments. The first line is the verdict, with figures behind a bar. It asks by ``ruok``, so it
needs no account.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .copies import copy_troubles, lag
from .errors import CommandError
from .ruok import Unreachable, asked
from .status import last_transaction
from .target import add_connection, target

__all__ = ["MISTAKE", "SUMMARY", "configure", "run"]

SUMMARY = "Check a server against thresholds, as a plugin of a monitor"

MISTAKE = 3

_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


class _Measure(NamedTuple):
    """Something that has thresholds.

    :ivar key: the end of the names of the options.
    :ivar what: for messages, with the value.
    :ivar unit: of performance data.
    :ivar of: returns the value of a storage; None if it has none.
    """

    key: str
    help: str
    what: str
    unit: str
    of: Callable[[dict[str, Any]], float | None]


def _lock_wait(state: dict[str, Any]) -> float:
    # Nobody tells since when they wait. It is no longer than the lock is held.
    if not state.get("waiting") or state.get("lock_time") is None:
        return 0.0
    return max(0.0, time.time() - state["lock_time"])


def _age(state: dict[str, Any]) -> float | None:
    last = last_transaction(state)
    return None if last is None else max(0.0, time.time() - last)


#: What is measured for each storage. The time of the answer is one of the whole server.
_MEASURES = (
    _Measure(
        "lock-wait",
        "how long the commit lock is held while others wait for it (seconds)",
        "others wait for a commit lock that is held for {value:.1f} seconds",
        "s",
        _lock_wait,
    ),
    _Measure(
        "clients",
        "how many clients there are",
        "{value:.0f} clients",
        "",
        lambda state: float(state.get("connections", 0)),
    ),
    _Measure(
        "age",
        "how long ago the last transaction was (seconds)",
        "the last transaction was {value:.0f} seconds ago",
        "s",
        _age,
    ),
    _Measure(
        "lag",
        "how long a standby has lacked something that its primary has (seconds)",
        "the standby is {value:.0f} seconds behind its primary",
        "s",
        lag,
    ),
)

_RESPONSE = _Measure(
    "response", "how long the answer takes (seconds)", "it answers in {value:.3f} seconds", "s",
    lambda state: None,
)  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser)
    parser.add_argument(
        "--storage",
        metavar="NAME",
        action="append",
        default=[],
        help="a storage that has to be served, and is checked; repeatable [default: all]",
    )
    for measure in (_RESPONSE, *_MEASURES):
        for level in ("warning", "critical"):
            parser.add_argument(
                f"--{level}-{measure.key}",
                metavar="NUMBER",
                type=float,
                help=f"{level} above this: {measure.help}",
            )


def run(arguments: argparse.Namespace) -> int:
    """Check; print the verdict; return the monitor's exit code."""
    try:
        where = target(arguments)
        _check_thresholds(arguments)
    except CommandError as error:
        return _verdict(3, [str(error)], [])
    try:
        storages, took = asked(where)
    except Unreachable as error:
        return _verdict(2, [str(error)], [])
    level, problems, figures = 0, [], []
    missing = [name for name in arguments.storage if name not in storages]
    if missing or not storages:
        level = 2
        problems.append(f"{where.text} does not serve {', '.join(missing) or 'any storage'}")
    chosen = {
        name: state
        for name, state in storages.items()
        if not arguments.storage or name in arguments.storage
    }
    for name, measure, value in _measured(chosen, took):
        severity, limits = _compared(arguments, measure, value)
        figures.append(f"{_quoted(name, measure.key)}={value:.6g}{measure.unit};{limits};0")
        if severity:
            level = max(level, severity)
            of = f"storage {name}: " if name else ""
            problems.append(of + measure.what.format(value=value))
    for name, state in chosen.items():
        for severity, trouble in copy_troubles(state):
            level = max(level, severity)
            problems.append(f"storage {name}: {trouble}")
    if not problems:
        problems.append(f"{where.text} serves {', '.join(chosen)}")
    return _verdict(level, problems, figures)


def _measured(
    storages: dict[str, dict[str, Any]], took: float
) -> Iterator[tuple[str, _Measure, float]]:
    yield "", _RESPONSE, took
    for name, state in storages.items():
        for measure in _MEASURES:
            value = measure.of(state)
            if value is not None:
                yield name, measure, value


def _thresholds(
    arguments: argparse.Namespace, measure: _Measure
) -> tuple[float | None, float | None]:
    key = measure.key.replace("-", "_")
    return getattr(arguments, f"warning_{key}"), getattr(arguments, f"critical_{key}")


def _check_thresholds(arguments: argparse.Namespace) -> None:
    for measure in (_RESPONSE, *_MEASURES):
        for value in _thresholds(arguments, measure):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise CommandError(f"--…-{measure.key}: write a number from 0 upwards")


def _compared(arguments: argparse.Namespace, measure: _Measure, value: float) -> tuple[int, str]:
    """Return how bad a value is, and the thresholds for performance data."""
    warning, critical = _thresholds(arguments, measure)
    severity = 0
    if warning is not None and value > warning:
        severity = 1
    if critical is not None and value > critical:
        severity = 2
    shown = ("" if each is None else f"{each:g}" for each in (warning, critical))
    return severity, ";".join(shown)


def _quoted(name: str, key: str) -> str:
    label = f"{name} {key}".strip().replace("=", "_").replace("'", "_").replace("|", "_")
    return f"'{label}'" if " " in label else label


def _verdict(level: int, problems: list[str], figures: list[str]) -> int:
    text = "; ".join(problems).replace("|", "/")
    print(f"ZEO {_WORDS[level]} - {text}" + (f" | {' '.join(figures)}" if figures else ""))
    return level
