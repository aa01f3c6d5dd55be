"""``zeotwisted pack``: packs storages of one or more servers, one after another."""

from __future__ import annotations

import argparse
import math
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import Any

from ZODB.POSException import POSError, Unsupported

from zeotwisted.backup import readable
from zeotwisted.clientstorage import ClientStorage

from .connecting import connected
from .errors import CommandError
from .interrupts import interruptible
from .progress import Progress
from .shown import duration, pack_phase, when
from .target import Target, add_connection, add_login, target

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Pack storages: remove old revisions, and objects that nothing refers to"

#: How often (seconds) the server is asked how far it is.
_OFTEN = 0.5

_TIME_OF_DAY = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser, several=True)
    add_login(parser, several=True)
    parser.add_argument(
        "--days",
        metavar="NUMBER",
        type=float,
        default=0.0,
        help="keep the history of so many days [default: 0]",
    )
    parser.add_argument(
        "--time-of-day",
        metavar="HH[:MM[:SS]]",
        help="keep the history since then, today or so many --days before [default: now]",
    )
    parser.add_argument(
        "--no-space-check",
        action="store_true",
        help="pack even if the server's disk might become full",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--cancel", action="store_true", help="do not pack; end the packs that run there"
    )
    instead.add_argument(
        "--progress", action="store_true", help="do not pack; tell how far the pack is that runs"
    )


def run(arguments: argparse.Namespace) -> int:
    """Pack all of them, also after a failure; return 1 if any has failed."""
    targets = [
        target(arguments, address, storage)
        for address in arguments.address
        for storage in arguments.storage or ["1"]
    ]
    until = _pack_time(arguments.days, arguments.time_of_day, time.time())
    failed = []
    for where in targets:
        try:
            if arguments.cancel:
                _cancel(where)
            elif arguments.progress:
                _tell(where)
            else:
                _pack(where, until, not arguments.no_space_check)
        except CommandError as error:
            failed.append(str(error))
            if len(targets) > 1:
                print(f"failed: {error}", flush=True)
    if failed:
        more = f"{len(failed)} of {len(targets)} failed: " if len(targets) > 1 else ""
        raise CommandError(more + " / ".join(failed))
    return 0


def _pack_time(days: float, time_of_day: str | None, now: float) -> float:
    """Return the time up to which to pack, in seconds since the epoch."""
    if not (math.isfinite(days) and 0 <= days <= now / 86400):
        raise CommandError("--days: write a number of days, 0 or more, such as 7")
    if time_of_day is None:
        return now - days * 86400
    match = _TIME_OF_DAY.fullmatch(time_of_day)
    parts = [int(part or 0) for part in match.groups()] if match else [24, 0, 0]
    if parts[0] > 23 or max(parts[1:]) > 59:
        raise CommandError("--time-of-day: write hours, minutes and seconds, such as 23:30")
    hour, minute, second = parts
    # The clock of the day that is meant: it may have another time of summer than today.
    day = datetime.fromtimestamp(now) - timedelta(days=days)
    until = day.replace(hour=hour, minute=minute, second=second, microsecond=0).timestamp()
    if until > now:
        raise CommandError(
            f"--time-of-day: {time_of_day} is later than now; add --days 1 for that of yesterday"
        )
    return until


def _name(where: Target) -> str:
    return f"{where.text}, storage {where.storage}"


def _cancel(where: Target) -> None:
    with connected(where) as client:
        # One that has copied everything puts the new file in place, and goes on to its end.
        has_copied = client.steer("pack_progress")["done"] == 1
        count = client.steer("cancel_pack")
    if not count:
        told = "no pack runs"
    elif has_copied:
        told = "the pack has copied everything; if the new file is in place, it goes on to its end"
    else:
        told = "the pack was told to end; its own command says whether it did"
    print(f"{_name(where)}: {told}")


def _tell(where: Target) -> None:
    with connected(where) as client:
        state = client.steer("pack_progress")
    if not state["running"]:
        print(f"{_name(where)}: no pack runs")
        return
    print(f"{_name(where)}: a pack runs since {when(state['since'])}, {pack_phase(state)}")


def _pack(where: Target, until: float, checks_space: bool) -> None:
    name = _name(where)
    # A client with the role pack alone cannot register for writing.
    with connected(where, read_only_fallback=True) as client:
        _check_idle(client, name)
        if checks_space:
            _check_space(client, name)
        before = client.getSize()
        begun = time.monotonic()
        with Progress(f"packing {name}", "") as progress:
            _run(client, until, progress)
        took = time.monotonic() - begun
        after = client.getSize()
    print(
        f"{name}: packed up to {when(until)} in {duration(took)}; {readable(before)} before, "
        f"{readable(after)} now",
        flush=True,
    )


def _check_idle(client: ClientStorage, name: str) -> None:
    state = _asked(client, "pack_progress")
    if state is not None and state["running"]:
        raise CommandError(
            f"{name}: a pack runs already, since {when(state['since'])}; wait for it, or end it "
            "with --cancel"
        )


def _check_space(client: ClientStorage, name: str) -> None:
    room = _asked(client, "pack_room")
    if room is not None and room[0] > room[1]:
        raise CommandError(
            f"{name}: a pack may write {readable(room[0])} before it removes the old file, and the "
            f"server's disk has {readable(room[1])} free; free some, or use --no-space-check"
        )


def _asked(client: ClientStorage, name: str) -> Any:
    """Make a call; return None if the server is one of ZEO's."""
    try:
        return client.steer(name)
    except Unsupported:
        return None


def _run(client: ClientStorage, until: float, progress: Progress) -> None:
    """Pack in a thread, and show meanwhile how far it is."""
    ended = Event()
    errors: list[Exception] = []

    def work() -> None:
        try:
            client.pack(until)
        except Exception as error:
            errors.append(error)
        finally:
            ended.set()

    thread = Thread(target=work, name="pack", daemon=True)
    with interruptible() as stops:
        thread.start()
        notes = _notes(client, progress)
        while not (stops() or ended.wait(_OFTEN)):
            next(notes)
        while not ended.is_set():
            # More than once: the thread may not have asked for the pack yet.
            if _asked(client, "cancel_pack") is None:
                raise CommandError("interrupted; a server of ZEO goes on with the pack")
            ended.wait(_OFTEN)
    if errors and stops():
        raise CommandError("interrupted; the pack was cancelled")
    if errors:
        raise errors[0]


def _notes(client: ClientStorage, progress: Progress) -> Iterator[None]:
    """At each step, ask the server how far it is, and show it."""
    copying_since: float | None = None
    while True:
        try:
            state = _asked(client, "pack_progress")
        except POSError:
            # The connection is lost, which the pack itself reports.
            state = None
        if state is None:
            progress.update(0)
        else:
            now = time.monotonic()
            if copying_since is None and state["done"] is not None:
                copying_since = now
            seconds = 0.0 if copying_since is None else now - copying_since
            progress.update(0, pack_phase(state, seconds))
        yield
