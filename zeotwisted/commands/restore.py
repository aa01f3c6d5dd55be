"""``zeotwisted restore``: makes a new database from a backup. See `zeotwisted.backup`."""

from __future__ import annotations

import argparse
import os
import sys

from zeotwisted.backup import (
    DATA,
    moment,
    new_folder,
    opened,
    read_back,
    selected,
    write_database,
)

from .backup import Shown, failures
from .connecting import quiet

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Restore a backup to a new folder, and compare all of it"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "backup",
        metavar="BACKUP",
        help="the folder of the backup; or a file that zeotwisted backup wrote to standard output, "
        "- for standard input",
    )
    parser.add_argument(
        "destination",
        metavar="DESTINATION",
        help="a folder that is not there yet, or is empty; it gets Data.fs and blobs",
    )
    parser.add_argument(
        "--until",
        metavar="TID-OR-TIME",
        help="restore the state after this transaction, or at this time (UTC), such as "
        "2026-07-31T18:00:00 [default: the newest]",
    )
    parser.add_argument(
        "--series",
        type=int,
        metavar="N",
        help="use this full backup and those that follow it [default: the newest that fits]",
    )


def run(arguments: argparse.Namespace) -> int:
    """Restore; return the exit code.

    :raises CommandError: it cannot be done. Nothing is at the destination then.
    """
    quiet()
    near = os.path.dirname(os.path.abspath(arguments.destination))
    with (
        failures(arguments.destination),
        new_folder(arguments.destination) as folder,
        opened(arguments.backup, sys.stdin.buffer, near) as target,
    ):
        series, until = selected(target, arguments.series, arguments.until)
        with Shown("restoring") as progress:
            restored = write_database(series, until, folder, progress.update)
        with Shown("comparing") as progress:
            count, last = read_back(folder, restored, until, progress.update)
    where = os.path.join(arguments.destination, DATA)
    state = f"up to {moment(last)} ({last.hex()})" if last else "of an empty database"
    print(f"restored and compared {count} transactions {state}: {where}")
    return 0
