"""``zeotwisted backup``: makes, checks and lists backups. See `zeotwisted.backup`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TextIO

from ZODB.FileStorage.format import CorruptedError
from ZODB.POSException import POSError

from zeotwisted.backup import (
    BackupError,
    Series,
    Target,
    back_up,
    damages,
    moment,
    opened,
    readable,
    stream_backup,
)
from zeotwisted.exceptions import ClientDisconnected

from .backupsource import add_source, check_source, open_source
from .connecting import quiet
from .errors import CommandError
from .progress import Progress

__all__ = ["SUMMARY", "Shown", "configure", "failures", "run"]

SUMMARY = "Back up a database with its blobs, or check and list backups"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.usage = (
        "zeotwisted backup [options] SOURCE TARGET\n"
        "       zeotwisted backup [options] --file Data.fs [--blobs FOLDER] TARGET\n"
        "       zeotwisted backup --verify TARGET\n"
        "       zeotwisted backup --list [--json] TARGET"
    )
    parser.add_argument(
        "places",
        nargs="+",
        metavar="SOURCE TARGET",
        help="SOURCE is a server: host:port, a port, or the path of a Unix socket. TARGET is a "
        "folder; or - to write a full backup to standard output",
    )
    add_source(parser)
    parser.add_argument(
        "--full", action="store_true", help="back up all, not only what is new since the last time"
    )
    parser.add_argument(
        "--keep",
        type=_count,
        metavar="N",
        help="remove all but the newest N full backups, with those that follow them",
    )
    parser.add_argument(
        "--allow-missing-blobs",
        action="store_true",
        help="go on if the database does not have a blob that it should have",
    )
    parser.add_argument(
        "--verify", action="store_true", help="check all files of TARGET, and back up nothing"
    )
    parser.add_argument(
        "--list", action="store_true", help="show what TARGET has, and back up nothing"
    )
    parser.add_argument("--json", action="store_true", help="with --list: print JSON, for programs")


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; return the exit code.

    :raises CommandError: it cannot be done, or a backup is damaged.
    """
    quiet()
    if arguments.json and not arguments.list:
        raise CommandError("--json belongs to --list")
    looks = arguments.verify or arguments.list
    wanted = 1 if looks or arguments.file is not None else 2
    if len(arguments.places) != wanted:
        raise CommandError(
            "write SOURCE and TARGET; with --file, --verify or --list, write TARGET only"
        )
    target = arguments.places[-1]
    source = arguments.places[0] if wanted == 2 else None
    check_source(arguments, source)
    with failures(target if source is None else f"{source} to {target}"):
        if looks:
            return _look(arguments, target)
        if target == "-":
            return _stream(arguments, source)
        with Shown("backing up") as progress:
            back_up(
                partial(open_source, arguments, source),
                Target(target),
                arguments.full,
                arguments.keep,
                arguments.allow_missing_blobs,
                partial(progress.say, sys.stdout),
                progress.update,
            )
    return 0


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Raise what can go wrong as `CommandError`.

    :param what: is named if an error has no name of a file.
    """
    try:
        yield
    except BackupError as error:
        raise CommandError(str(error)) from None
    except ClientDisconnected as error:
        raise CommandError(
            f"{what}: no connection to the server ({error}); what was backed up before is "
            "unchanged, run this again"
        ) from None
    except OSError as error:
        raise CommandError(
            f"{error.filename or what}: {error.strerror or error}; what was there before is "
            "unchanged, mend this and run it again"
        ) from None
    except CorruptedError as error:
        raise CommandError(
            f"{what}: the database is damaged ({error}); copy its file, and look for what can be "
            "saved with ZODB's fstest and fsrecover"
        ) from None
    except (POSError, ValueError) as error:
        raise CommandError(f"{what}: {error or type(error).__name__}") from None


class Shown:
    """The progress of an operation on a backup; use it in a ``with`` statement.

    :param what: is being done, such as ``restoring``.
    """

    def __init__(self, what: str) -> None:
        self._progress = Progress(what, "", None, readable)

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.clear()

    def update(self, size: int, count: int, fraction: float | None) -> None:
        """Show how far it is.

        :param size: how many bytes were done.
        :param count: how many transactions.
        :param fraction: which part of all was done, from 0 to 1; None if that is not known.
        """
        self._progress.total = size / fraction if fraction else None
        self._progress.update(size, f"{count} transactions")

    def say(self, stream: TextIO, line: str) -> None:
        """Print a line."""
        self._progress.clear()
        print(line, file=stream, flush=True)


def _stream(arguments: argparse.Namespace, source: str | None) -> int:
    if sys.stdout.isatty():
        raise CommandError("standard output is a terminal; write it to a file or a pipe")
    if arguments.full or arguments.keep:
        raise CommandError("a stream is a full backup always; leave out --full and --keep")
    with Shown("backing up") as progress:
        stream_backup(
            partial(open_source, arguments, source),
            sys.stdout.buffer,
            arguments.allow_missing_blobs,
            partial(progress.say, sys.stderr),
            progress.update,
        )
    return 0


def _look(arguments: argparse.Namespace, path: str) -> int:
    near = os.path.dirname(os.path.abspath(path)) if path != "-" else "."
    with opened(path, sys.stdin.buffer, near) as target:
        if arguments.list:
            return _list(target, arguments.json)
        return _verify(target)


def _whole(target: Target) -> tuple[list[Series], int]:
    """Return the series with right manifests, and the number of others; print what these have."""
    series: list[Series] = []
    damaged = 0
    for number in target.numbers():
        try:
            series.append(target.series(number))
        except BackupError as error:
            damaged += 1
            print(f"zeotwisted: {error}", file=sys.stderr)
    return series, damaged


def _verify(target: Target) -> int:
    whole, count = _whole(target)
    for series in whole:
        with Shown(f"checking series {series.number}") as progress:
            for damage in damages(series, progress.update):
                count += 1
                progress.say(sys.stderr, f"zeotwisted: {damage}")
    if count:
        raise CommandError(f"{target.name} is damaged, see the {count} lines above")
    pieces = sum(len(series.pieces) for series in whole)
    print(f"{target.name} is right: {len(whole)} series, {pieces} pieces")
    return 0


def _list(target: Target, as_json: bool) -> int:
    series, damaged = _whole(target)
    code = 1 if damaged else 0
    if as_json:
        print(json.dumps([_listed(each) for each in series], indent=1))
        return code
    for each in series:
        for entry in _listed(each):
            size = readable(entry["bytes"])
            print(
                f"series {each.number}, piece {entry['piece']}, {entry['kind']}: up to "
                f"{entry['time'] or 'nothing'} {entry['last']}, {entry['transactions']} "
                f"transactions, {entry['blobs']} blobs, {size}"
            )
    return code


def _listed(series: Series) -> list[dict[str, Any]]:
    entries = []
    for piece in series.pieces:
        manifest = piece.manifest
        last = manifest.last if manifest.transactions else ""
        entries.append(
            {
                "series": series.number,
                "piece": manifest.piece,
                "kind": "full" if manifest.is_full else "incremental",
                "made": manifest.made,
                "source": manifest.source,
                "first": manifest.first,
                "last": last,
                "time": moment(bytes.fromhex(last)) if last else "",
                "packed_until": manifest.packed_until,
                "transactions": manifest.transactions,
                "records": manifest.records,
                "blobs": manifest.blobs,
                "missing_blobs": manifest.missing,
                "bytes": manifest.size,
            }
        )
    return entries


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write a number above 0")
    return int(text)
