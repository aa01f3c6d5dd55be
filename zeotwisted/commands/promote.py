"""``zeotwisted promote``: makes a standby the primary."""

from __future__ import annotations

import argparse

from .connected import connected
from .errors import CommandError
from .shown import printable
from .target import add_connection, add_login, target

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Make a standby the primary, so that clients can write to it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser)
    add_login(parser)


def run(arguments: argparse.Namespace) -> int:
    """Promote it; print what it has; return the exit code."""
    from ZODB.POSException import StorageError

    where = target(arguments)
    try:
        with connected(where) as client:
            note = client.call("promote")
    except (StorageError, OSError, ValueError) as error:
        raise CommandError(f"{arguments.address}: {error}") from None
    print(f"{arguments.address} takes changes now; its last transaction is {note['last']}")
    if note["complete"]:
        print("it had everything, and its primary was there: stop that, or clients write to both")
    elif note.get("refused"):
        print(f"it refused to follow its primary: {printable(note['refused'])}")
    else:
        print(
            "it was not connected to its primary, or was behind; what the primary committed after "
            "this transaction is not here"
        )
    print("do not start the old primary again, but as a standby of this server")
    return 0
