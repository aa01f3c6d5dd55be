"""``zeotwisted locks``: who holds the commit lock, and who waits. It needs ``administer``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .connecting import connected
from .shown import duration, table
from .target import add_connection, add_json, add_login, target

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Show who holds the commit lock of a storage, and who waits for it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser)
    add_login(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print a table; return the exit code."""
    where = target(arguments)
    with connected(where) as client:
        locks = client.steer("server_locks")
    if arguments.json:
        print(json.dumps(locks))
        return 0
    rows = [_row("holds it", each) for each in locks["holders"]]
    rows += [_row("waits", each) for each in locks["waiting"]]
    if not rows:
        print(f"{where.text}: the commit lock of storage {where.storage} is free")
        return 0
    print(table(("NUMBER", "STATE", "FOR", "CLIENT"), rows))
    if locks["waiting_total"] > len(locks["waiting"]):
        print(f"... and {locks['waiting_total'] - len(locks['waiting'])} more wait")
    return 0


def _row(state: str, turn: dict[str, Any]) -> tuple[object, ...]:
    return turn["number"], state, duration(turn["seconds"]), turn["client"]
