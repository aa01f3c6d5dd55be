"""``zeotwisted status``: the counters of all storages of a server, once or again and again."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import textwrap
import time
from typing import Any, NamedTuple

from .copies import copy_lines
from .errors import CommandError
from .live import Seen, Watcher, cut, lines
from .ruok import asked
from .shown import duration, time_of, when
from .target import Target, add_account, add_connection, add_json, target

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Show the counters of all storages of a server"

#: The counters whose rates are shown.
_COUNTERS = ("loads", "stores", "commits", "aborts", "conflicts", "conflicts_resolved")

#: How large an output is that is no terminal, and how many clients of a storage are shown at least.
_NO_TERMINAL = os.terminal_size((80, 40))
_FEWEST = 3

#: Empties a terminal.
_CLEAR = "\x1b[H\x1b[2J"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser)
    add_account(parser)
    add_json(parser)
    parser.add_argument(
        "--live",
        action="store_true",
        help="show it again and again, with rates, clients and packs, until Ctrl+C",
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
    if arguments.user is not None and not arguments.live:
        raise CommandError("--user: write it together with --live; without, nobody logs in")
    if not arguments.live:
        print(_text(where, arguments.json, _Round(*asked(where))))
        return 0
    try:
        _watch(where, arguments)
    except KeyboardInterrupt:
        # This is how it ends.
        print()
    return 0


class _Round(NamedTuple):
    """What was asked at a time.

    :ivar storages: the counters of each storage.
    :ivar took: how long (seconds) the answer took.
    :ivar seen: what clients of each storage are told; None: nobody has asked.
    :ivar before: the counters that were shown last, so many `seconds` ago; empty for none.
    """

    storages: dict[str, dict[str, Any]]
    took: float
    seen: dict[str, Seen] | None = None
    before: dict[str, dict[str, Any]] = {}
    seconds: float = 0.0


def _watch(where: Target, arguments: argparse.Namespace) -> None:
    before: dict[str, Any] = {}
    last = time.monotonic()
    shown = 0
    with Watcher(where) as watcher:
        while True:
            now = time.monotonic()
            storages, took = asked(where)
            seen = {name: watcher.look(name) for name in storages}
            text = _text(where, arguments.json, _Round(storages, took, seen, before, now - last))
            print(text, flush=True)
            before, last = storages, now
            shown += 1
            if shown == arguments.count:
                return
            time.sleep(arguments.interval)


def _text(where: Target, as_json: bool, shown: _Round) -> str:
    if as_json:
        plain = {"address": where.text, "seconds": shown.took, "storages": shown.storages}
        if shown.seen is not None:
            plain |= {
                "clients": {name: seen.clients for name, seen in shown.seen.items()},
                "packs": {name: seen.pack for name, seen in shown.seen.items()},
            }
        return json.dumps(plain)
    clears = shown.seen is not None and sys.stdout.isatty()
    size = shutil.get_terminal_size() if sys.stdout.isatty() else _NO_TERMINAL
    found = {
        name: _lines(name, state, shown.before.get(name), shown.seconds, size.columns)
        for name, state in shown.storages.items()
    }
    # What is left of the screen, for the clients of each storage: with a head, and a last line.
    left = size.lines - 2 - sum(map(len, found.values()))
    most = max(_FEWEST, left // max(1, len(found)) - 3)
    text = [f"{where.text}: answers in {1000 * shown.took:.1f} ms"]
    for name, own in found.items():
        text += own
        if shown.seen is not None:
            text += lines(shown.seen[name], size.columns, most)
    # A line that goes on in the next one would push the first ones from the screen.
    drawn = [cut(line, size.columns) if clears else line for line in text]
    return (_CLEAR if clears else "") + "\n".join(drawn)


def _lines(
    name: str, state: dict[str, Any], before: dict[str, Any] | None, seconds: float, width: int
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
        *_wrapped(counters, width),
    ]


def _wrapped(items: list[str], width: int) -> list[str]:
    """Return items with commas between them, in lines that are not longer than `width`."""
    # Spaces within items do not end a line.
    text = ", ".join(item.replace(" ", "\0") for item in items)
    found = textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")
    return [line.replace("\0", " ") for line in found]


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
