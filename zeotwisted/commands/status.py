"""``zeotwisted status``: the counters of all storages of a server, once or again and again."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from typing import Any

from .copies import copy_lines
from .errors import CommandError
from .ruok import asked
from .shown import duration, time_of, when
from .target import Target, add_connection, add_json, target

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Show the counters of all storages of a server"

#: The counters whose rates are shown.
_COUNTERS = ("loads", "stores", "commits", "aborts", "conflicts", "conflicts_resolved")

#: Empties a terminal.
_CLEAR = "\x1b[H\x1b[2J"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser)
    add_json(parser)
    parser.add_argument(
        "--live", action="store_true", help="show it again and again, with rates, until Ctrl+C"
    )
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=float,
        default=2.0,
        help="how long to wait in between [default: 2]",
    )
    parser.add_argument(
        "--count", metavar="NUMBER", type=int, help="with --live, how often [default: for ever]"
    )


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print; return the exit code."""
    where = target(arguments)
    if not (math.isfinite(arguments.interval) and arguments.interval > 0):
        raise CommandError("--interval: write a number of seconds above 0, such as 2")
    if arguments.count is not None and (arguments.count < 1 or not arguments.live):
        raise CommandError("--count: write a number from 1 upwards, together with --live")
    if not arguments.live:
        _show(where, arguments.json, {}, 0.0)
        return 0
    try:
        _watch(where, arguments)
    except KeyboardInterrupt:
        # This is how it ends.
        print()
    return 0


def _watch(where: Target, arguments: argparse.Namespace) -> None:
    before: dict[str, Any] = {}
    last = time.monotonic()
    shown = 0
    while True:
        now = time.monotonic()
        before = _show(where, arguments.json, before, now - last, sys.stdout.isatty())
        last = now
        shown += 1
        if shown == arguments.count:
            return
        time.sleep(arguments.interval)


def _show(
    where: Target, as_json: bool, before: dict[str, Any], seconds: float, clears: bool = False
) -> dict[str, Any]:
    """Print the status; return the counters.

    :param before: the counters that were shown last, so many seconds ago; empty for none.
    """
    storages, took = asked(where)
    if as_json:
        print(json.dumps({"address": where.text, "seconds": took, "storages": storages}))
    else:
        lines = [f"{where.text}: answers in {1000 * took:.1f} ms"]
        for name, state in storages.items():
            lines += _lines(name, state, before.get(name), seconds)
        print((_CLEAR if clears else "") + "\n".join(lines))
    sys.stdout.flush()
    return storages


def _lines(
    name: str, state: dict[str, Any], before: dict[str, Any] | None, seconds: float
) -> list[str]:
    counters = [
        f"{key.replace('_', ' ')} {_counted(key, state, before, seconds)}" for key in _COUNTERS
    ]
    last = last_transaction(state)
    age = (
        "none yet"
        if last is None
        else f"{when(last)} ({duration(max(0.0, time.time() - last))} ago)"
    )
    return [
        f"storage {name}: {state.get('connections')} clients, "
        f"{state.get('active_txns')} in a transaction; since {state.get('start')}",
        f"  last transaction: {age}",
        f"  commit lock: {_lock(state)}",
        *(f"  {line}" for line in copy_lines(state)),
        f"  {', '.join(counters)}",
    ]


def _counted(key: str, state: dict[str, Any], before: dict[str, Any] | None, seconds: float) -> str:
    count = state.get(key, 0)
    if before is None or seconds <= 0:
        return str(count)
    return f"{count} ({(count - before.get(key, 0)) / seconds:.1f}/s)"


def _lock(state: dict[str, Any]) -> str:
    since = state.get("lock_time")
    waiting = state.get("waiting", 0)
    if since is None:
        return "free"
    return f"held for {duration(max(0.0, time.time() - since))}, {waiting} wait"


def last_transaction(state: dict[str, Any]) -> float | None:
    """Return the time (seconds since the epoch) of a storage's last transaction, or None.

    :param state: the storage's part of a status.
    """
    tid = bytes.fromhex(str(state.get("last-transaction", "")))
    return time_of(tid) if len(tid) == 8 and any(tid) else None
