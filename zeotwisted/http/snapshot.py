"""What the page shows at a moment, as texts for one kind of visitor.

A browser with JavaScript gets the same texts again and again, and puts them where the page has
them: nothing is formatted twice.
"""

from __future__ import annotations

import time as wallclock
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from zeotwisted.storageserver import (
    ConnectionReport,
    LockReport,
    ServerReport,
    StorageReport,
    StorageServer,
)

from .history import History
from .lines import Line, Lines
from .plots import Plot, plots
from .readiness import reasons_against
from .visitors import Visitor
from .words import NOTHING, amount, clock, count, duration

__all__ = ["CLIENTS", "Link", "Row", "Snapshot", "Snapshots"]

#: How many clients are shown.
CLIENTS = 200

#: How many of those that wait for a commit lock, or read the log, are shown.
_WAITING = 20

#: How long (seconds) a snapshot is given to others who want the same.
_FRESH = 0.9


class Link(NamedTuple):
    """A cell of a table that leads to another page."""

    text: str
    href: str
    #: For those who do not see the row.
    label: str


#: A row has a key, so that it is found again in the next snapshot.
Row: TypeAlias = "tuple[str, Sequence[str | Link]]"


class Snapshot(NamedTuple):
    """What is shown.

    :ivar texts: single texts, by their names in the page.
    :ivar tables: the rows of each table, by its name in the page.
    """

    texts: Mapping[str, str]
    tables: Mapping[str, Sequence[Row]]
    plots: Sequence[Plot]

    def plain(self) -> dict[str, Any]:
        """Return the same for JSON."""
        return {
            "texts": self.texts,
            "tables": self.tables,
            "plots": {plot.key: plot[2:5] for plot in self.plots},
        }


class Snapshots:
    """Makes snapshots. Visitors who may see the same get the same one.

    :param seconds: returns the time in seconds.
    """

    def __init__(
        self,
        server: StorageServer,
        history: History,
        lines: Lines,
        seconds: Callable[[], float],
        version: str,
    ) -> None:
        self._server = server
        self._history = history
        self._lines = lines
        self._seconds = seconds
        self._version = version
        self._made: dict[Any, tuple[float, Snapshot]] = {}

    def of(self, visitor: Visitor) -> Snapshot:
        """Return what a visitor may see now."""
        key = visitor.seen, visitor.administered, visitor.everything
        now = self._seconds()
        self._made = {
            each: pair for each, pair in self._made.items() if 0 <= now - pair[0] < _FRESH
        }
        if key not in self._made:
            self._made[key] = now, self._make(visitor, now)
        return self._made[key][1]

    def _reasons(self, visitor: Visitor) -> list[str]:
        return reasons_against(self._server) if visitor.everything else []

    def _make(self, visitor: Visitor, now: float) -> Snapshot:
        report = self._server.report()
        storages = [each for each in report.storages if each.name in visitor.seen]
        of_others = visitor.administered
        clients = self._server.connections(CLIENTS) if of_others else []
        if not visitor.everything:
            clients = [each for each in clients if each.storage_id in of_others]
        lines = self._lines.last() if visitor.everything else []
        return Snapshot(
            _texts(report, storages, clients, visitor, self._version, self._reasons(visitor)),
            {
                "storages": [_storage(each) for each in storages],
                "locks": [row for each in storages for row in _locks(each, of_others)],
                "readers": [row for each in storages for row in _readers(each, of_others)],
                "clients": [_client(each) for each in clients],
                "warnings": [_warning(each) for each in lines],
            },
            plots(self._history.points(visitor.seen), now),
        )


def _texts(
    report: ServerReport,
    storages: Sequence[StorageReport],
    clients: Sequence[ConnectionReport],
    visitor: Visitor,
    version: str,
    reasons: Sequence[str],
) -> dict[str, str]:
    problem = any(each.problem for each in storages)
    waiting = sum(len(each.lock.waiting) for each in storages)
    total = sum(each.connections for each in storages)
    return {
        "status": "Not ready" if reasons or problem or report.draining else "Ready",
        "reasons": "; ".join(reasons),
        "time": clock(wallclock.time()),
        "version": version,
        "visitor": visitor.identity.label,
        "clients": count(total),
        "slow": count(report.slow),
        "waiting": count(waiting),
        "shown": f"The {CLIENTS} that hold the most are shown." if len(clients) == CLIENTS else "",
        "size": amount(sum(each.size or 0 for each in storages)),
    }


def _storage(report: StorageReport) -> Row:
    stats, last = report.stats, report.last_transaction
    return report.name, [
        report.name,
        _state(report),
        NOTHING if report.size is None else amount(report.size),
        NOTHING if report.objects is None else count(report.objects),
        NOTHING if last is None else f"{duration(max(0.0, wallclock.time() - last))} ago",
        count(report.connections),
        count(stats.loads),
        count(stats.commits),
        f"{count(stats.conflicts_resolved)} / {count(stats.conflicts)}",
        _pack(report),
    ]


def _state(report: StorageReport) -> str:
    if report.problem:
        return report.problem
    standby, followers = report.standby, report.followers
    if standby is not None:
        behind = f", {duration(standby.lag)} behind" if standby.lag else ""
        return f"standby of {standby.primary}: {standby.state}{behind}"
    state = "read-only" if report.read_only else "open"
    if followers.wanted and not followers.synchronous:
        state += "; commits do not wait for a standby"
    return state


def _pack(report: StorageReport) -> str:
    packs = report.packs
    if packs.since is None:
        return NOTHING
    running = max(0.0, wallclock.time() - packs.since)
    if packs.done is None:
        return f"looks for garbage, since {duration(running)}"
    if packs.done == 1:
        return f"copied; puts it in place, and removes blobs, since {duration(running)}"
    left = "" if packs.left is None else f", {duration(packs.left)} left"
    return f"{packs.done:.0%} copied, since {duration(running)}{left}"


def _locks(report: StorageReport, shown: frozenset[str]) -> list[Row]:
    lock: LockReport = report.lock
    is_shown = report.name in shown
    rows: list[Row] = []
    turns = [("holds it", turn) for turn in lock.holders]
    turns += [("waits", turn) for turn in lock.waiting[:_WAITING]]
    for number, (what, turn) in enumerate(turns):
        who = turn.client if is_shown else "a client"
        rows.append((f"{report.name} {number}", [report.name, what, who, duration(turn.seconds)]))
    more = len(lock.waiting) - _WAITING
    if more > 0:
        rows.append((f"{report.name} more", [report.name, "wait", f"{more} more", ""]))
    return rows


def _readers(report: StorageReport, shown: frozenset[str]) -> list[Row]:
    rows: list[Row] = []
    for reader in report.readers[:_WAITING]:
        left = "" if reader.left is None else f", {duration(reader.left)} left"
        who = reader.client if report.name in shown else "a client"
        cells = [report.name, who, f"{reader.done:.0%}{left}", duration(reader.seconds)]
        rows.append((f"{report.name} {reader.number}", cells))
    more = len(report.readers) - _WAITING
    if more > 0:
        rows.append((f"{report.name} more", [report.name, f"{more} more", "", ""]))
    return rows


def _client(report: ConnectionReport) -> Row:
    who = report.label or report.user or report.address
    encoding = {"M": "msgpack", "Z": "pickle"}.get(report.encoding, "")
    queued = amount(report.queued)
    if report.lag:
        queued += f", takes nothing since {duration(report.lag)}"
    elif report.silent:
        queued += f", does not answer since {duration(report.silent)}"
    return str(report.number), [
        report.label or NOTHING,
        report.user or NOTHING,
        report.address,
        "not registered" if report.storage_id is None else report.storage_id,
        f"{report.version} {encoding}" if report.version else NOTHING,
        duration(report.idle),
        queued,
        _transaction(report),
        Link("Disconnect…", f"disconnect?client={report.number}", f"Disconnect {who}…"),
    ]


def _transaction(report: ConnectionReport) -> str:
    transaction = report.transaction
    if transaction is None:
        return NOTHING
    objects = "1 object" if transaction.objects == 1 else f"{count(transaction.objects)} objects"
    about = " ".join(filter(None, [transaction.user, transaction.description]))
    parts = [transaction.phase, duration(transaction.age), objects, amount(transaction.size)]
    return ", ".join(parts) + (f" ({about})" if about else "")


def _warning(line: Line) -> Row:
    return str(line.number), [clock(line.time), line.level, line.text]
