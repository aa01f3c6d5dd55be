"""``zeotwisted restore``: makes a new database from a backup. See `zeotwisted.backup`.

Each restore writes a FileStorage, and compares it with the backup. For another storage, that is
copied as by `copy`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import closing

from ZODB.FileStorage import FileStorage

from zeotwisted.backup import (
    BLOBS,
    DATA,
    Losses,
    moment,
    new_folder,
    opened,
    read_back,
    selected,
    workplace,
    write_database,
)

from . import copy
from .backup import Shown, failures
from .connecting import quiet
from .errors import CommandError
from .opening import opened as storage_opened

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
        nargs="?",
        help="a folder that is not there yet, or is empty; it gets Data.fs and blobs",
    )
    parser.add_argument(
        "--to",
        metavar="STORAGE",
        help="restore into a storage of any kind in place of a folder, as zeotwisted copy --to: "
        "zeotwisted://host:port?storage=1, or a file with its section; it is empty, or has what an "
        "earlier restore has left; the folder for temporary files (TMPDIR) needs room for all",
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
    parser.add_argument(
        "--allow-damaged-blobs",
        action="store_true",
        help="leave out blobs whose files in the backup are damaged, name each, and exit with 1",
    )


def run(arguments: argparse.Namespace) -> int:
    """Restore; return the exit code.

    :raises CommandError: it cannot be done. Nothing is at the destination then, unless blobs are
        left out.
    """
    quiet()
    losses = Losses(arguments.allow_damaged_blobs)
    if (arguments.destination is None) == (arguments.to is None):
        raise CommandError("write a folder, or --to and a storage, for what is restored")
    if arguments.destination is None:
        _restore_into_storage(arguments, arguments.to, losses)
    else:
        near = os.path.dirname(os.path.abspath(arguments.destination))
        with failures(arguments.destination), new_folder(arguments.destination) as folder:
            said = _restore(arguments, folder, near, losses)
        print(f"{said}: {os.path.join(arguments.destination, DATA)}")
    if losses.lines:
        raise CommandError(
            f"{len(losses.blobs)} blobs are left out, see the lines above; all else is restored"
        )
    return 0


def _restore(arguments: argparse.Namespace, folder: str, near: str, losses: Losses) -> str:
    """Restore to a folder; return what was restored, for people.

    :param near: where a stream is unpacked.
    """
    with opened(arguments.backup, sys.stdin.buffer, near) as target:
        series, until = selected(target, arguments.series, arguments.until)
        with Shown("restoring") as progress:
            restored = write_database(series, until, folder, progress.update, losses)
        with Shown("comparing") as progress:
            count, last = read_back(folder, restored, until, progress.update, losses)
    for line in losses.lines:
        print(f"zeotwisted: {line}", file=sys.stderr)
    state = f"up to {moment(last)} ({last.hex()})" if last else "of an empty database"
    return f"restored and compared {count} transactions {state}"


def _restore_into_storage(arguments: argparse.Namespace, place: str, losses: Losses) -> None:
    with copy.failures(), storage_opened(place):
        # That it cannot be opened is better known before than after hours.
        pass
    near = tempfile.gettempdir()
    with failures(near), workplace(near) as folder:
        _restore(arguments, folder, near, losses)
        path, blobs = os.path.join(folder, DATA), os.path.join(folder, BLOBS)
        with copy.failures(), closing(FileStorage(path, read_only=True, blob_dir=blobs)) as source:
            copy.copy(source, place)
