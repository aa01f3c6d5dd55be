"""``zeotwisted clients``: who uses a storage. It needs the role ``administer``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from zeotwisted.backup import readable

from .connecting import connected
from .shown import duration, table
from .target import add_connection, add_json, add_login, target

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Show the clients of a storage, those that hold others up first"

_HEAD = ("NUMBER", "LABEL", "USER", "ADDRESS", "VERSION", "IDLE", "QUEUED", "TRANSACTION")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser)
    add_login(parser)
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print a table; return the exit code."""
    with connected(target(arguments)) as client:
        answer = client.steer("server_clients")
    if arguments.json:
        print(json.dumps(answer))
        return 0
    print(table(_HEAD, [_row(each) for each in answer["clients"]]))
    if answer["total"] > len(answer["clients"]):
        print(f"... and {answer['total'] - len(answer['clients'])} more")
    return 0


def _row(client: dict[str, Any]) -> tuple[object, ...]:
    transaction = client["transaction"]
    queued = readable(client["queued"])
    if client["queued"] and client["lag"] >= 1:
        queued += f", for {duration(client['lag'])}"
    elif client.get("silent"):
        # What it is sent may wait in the buffers of the two systems.
        queued += f", no answer for {duration(client['silent'])}"
    return (
        client["number"],
        client["label"] or "-",
        client["user"] or "-",
        client["address"],
        client["encoding"] + client["version"],
        duration(client["idle"]),
        queued,
        "-" if transaction is None else _described(transaction),
    )


def _described(transaction: dict[str, Any]) -> str:
    words = f" {transaction['user']} {transaction['description']}".rstrip()
    age, objects = duration(transaction["age"]), transaction["objects"]
    return (
        f"{transaction['phase']}, {age}, {objects} objects, {readable(transaction['size'])}{words}"
    )
