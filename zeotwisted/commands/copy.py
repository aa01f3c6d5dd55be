"""``zeotwisted copy``: copies a storage to another one, with its history and its blobs."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ZODB.utils import tid_repr, z64

from zeotwisted.backup import readable
from zeotwisted.files import is_full

from .errors import CommandError
from .interrupts import interruptible
from .opening import name_of, opened
from .progress import Progress
from .shown import duration
from .transfer import Count, Stopped, check_beginning, copy_transactions, count, keeps_history

__all__ = ["SUMMARY", "configure", "copy", "failures", "run"]

SUMMARY = "Copy a storage to another one, transaction by transaction, with blobs"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    what = (
        "zeotwisted://host:port?storage=1, or a file with the section of a storage; with several "
        "sections, file#name"
    )
    parser.add_argument("--from", dest="source", metavar="STORAGE", required=True, help=what)
    parser.add_argument(
        "--to",
        dest="destination",
        metavar="STORAGE",
        required=True,
        help="likewise; an empty storage, or what an earlier copy has left, which goes on",
    )
    parser.add_argument(
        "--no-count",
        action="store_true",
        help="do not read the destination afterwards to count what is there",
    )


def run(arguments: argparse.Namespace) -> int:
    """Copy; print what was copied; return the exit code."""
    if arguments.source == arguments.destination:
        raise CommandError("--from and --to are the same storage; name two")
    with failures(), opened(arguments.source) as source:
        copy(source, arguments.destination, counts=not arguments.no_count)
    return 0


def copy(source: Any, place: str, counts: bool = True) -> None:
    """Copy a storage, and print what was copied.

    :param place: the destination; see `opening.opened`.
    :param counts: read the destination afterwards, and count what is there.
    """
    begun = time.monotonic()
    with interruptible() as stops:
        with opened(place) as destination:
            last = source.lastTransaction()
            after = destination.lastTransaction()
            _check(source, destination, after, last)
            copied = _copy(source, destination, place, after, last, stops)
            has_history = keeps_history(destination)
        if copied.transactions and has_history and counts:
            # What is there is counted in a storage that is opened again.
            with opened(place) as destination:
                _compare(copied, destination, after, last)
    if not copied.transactions:
        print(f"{name_of(place)}: has all up to transaction {tid_repr(after)}")
        return
    print(
        f"{name_of(place)}: copied {copied.transactions} transactions, "
        f"{copied.records} records, {copied.blobs} blobs in "
        f"{duration(time.monotonic() - begun)}, up to transaction {tid_repr(last)}"
    )


@contextmanager
def failures() -> Iterator[None]:
    """Raise what can go wrong with storages as `CommandError`."""
    try:
        yield
    except CommandError:
        raise
    except (KeyboardInterrupt, Stopped):
        raise CommandError("interrupted; the same command goes on") from None
    except Exception as error:
        # Storages of other packages may raise anything, such as errors of a database.
        what = str(error).strip().partition("\n")[0] or type(error).__name__
        if is_full(error):
            raise CommandError(
                f"the copy has failed: {what}; make room on that disk, and then the same command "
                "goes on"
            ) from None
        raise CommandError(f"the copy has failed: {what}; the same command goes on") from None


def _check(source: Any, destination: Any, after: bytes, last: bytes) -> None:
    if after == z64:
        return
    if after > last:
        raise CommandError(
            f"the destination has transaction {tid_repr(after)}, which is later than the last one "
            f"of the source ({tid_repr(last)}); copy into an empty storage"
        )
    check_beginning(source, destination, after)


def _copy(
    source: Any,
    destination: Any,
    place: str,
    after: bytes,
    last: bytes,
    stops: Callable[[], bool],
) -> Count:
    if after == last:
        return Count(0, 0, 0)
    left = max(1, source.getSize() - (destination.getSize() if after != z64 else 0))
    with Progress(f"copying to {name_of(place)}", "", left, readable) as progress:

        def warn(line: str) -> None:
            progress.clear()
            print(f"zeotwisted: {line}", file=sys.stderr)

        return copy_transactions(source, destination, after, last, progress.update, warn, stops)


def _compare(copied: Count, destination: Any, after: bytes, last: bytes) -> None:
    there = count(destination, after)
    if there != copied[:2] or destination.lastTransaction() != last:
        raise CommandError(
            f"{copied.transactions} transactions with {copied.records} records were copied, and "
            f"{there[0]} with {there[1]} are there; copy into an empty storage that nobody else "
            "changes"
        )
