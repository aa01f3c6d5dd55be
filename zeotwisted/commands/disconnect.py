"""``zeotwisted disconnect``: ends the connections of clients. It needs the role ``administer``."""

from __future__ import annotations

import argparse

from .connecting import connected
from .errors import CommandError
from .target import add_connection, add_login, target

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Disconnect clients of a storage; they may connect again"

#: How long the reason may be, in characters; see the call ``disconnect_client``.
_LONGEST = 200


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser)
    parser.add_argument(
        "numbers",
        metavar="NUMBER",
        type=int,
        nargs="+",
        help="the client, as zeotwisted clients and zeotwisted locks show it",
    )
    add_login(parser)
    parser.add_argument(
        "--reason", metavar="TEXT", default="", help="for the server's log, and for the client"
    )


def run(arguments: argparse.Namespace) -> int:
    """Disconnect; print a line for each client; return the exit code."""
    where = target(arguments)
    if len(arguments.reason) > _LONGEST:
        raise CommandError(f"--reason: write {_LONGEST} characters at most")
    missing = []
    with connected(where) as client:
        for number in arguments.numbers:
            gone = client.steer("disconnect_client", number, arguments.reason)
            if gone is None:
                missing.append(str(number))
            else:
                name = " ".join(filter(None, (gone["label"], gone["user"], gone["address"])))
                print(f"{where.text}: disconnected {number} ({name})")
    if missing:
        raise CommandError(
            f"{where.text}: storage {where.storage} has no client with the number "
            f"{', '.join(missing)}; zeotwisted clients shows those it has"
        )
    return 0
