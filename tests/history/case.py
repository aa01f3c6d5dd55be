"""The history and the database as the rules of the checker see them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ZODB.utils import z64

from .database import Database, Transaction
from .history import (
    Checked,
    Event,
    Failed,
    Finished,
    Finishing,
    History,
    Noted,
    Stored,
    Undone,
    Voted,
)

__all__ = ["Case", "Client", "Commit", "Highest", "tid_of"]


@dataclass
class Commit:
    """What a client has recorded about one of its transactions.

    :ivar last: the last event that is about it.
    :ivar stores: the last store of each object.
    """

    mark: str
    last: Event
    stores: dict[bytes, Stored] = field(default_factory=dict)
    checks: list[Checked] = field(default_factory=list)
    undoes: bool = False
    resolved: set[bytes] = field(default_factory=set)
    finishing: bool = False
    noted: list[Event] = field(default_factory=list)
    finished: Event | None = None
    failed: Event | None = None

    def add(self, event: Event) -> None:
        self.last = event
        match event.what:
            case Stored(oid=oid) as stored:
                self.stores[oid] = stored
            case Checked() as checked:
                self.checks.append(checked)
            case Undone():
                self.undoes = True
            case Voted(resolved=resolved):
                self.resolved.update(resolved)
            case Finishing():
                self.finishing = True
            case Noted():
                self.noted.append(event)
            case Finished():
                self.finished = event
            case Failed():
                self.failed = event

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing. Storages do not keep such a transaction."""
        return not self.stores and not self.undoes


class Client:
    """The events of one client.

    :ivar events: in the order of their ends.
    :ivar commits: by their marks.
    """

    def __init__(self, name: str, events: Iterable[Event]) -> None:
        self.name = name
        self.events = sorted(events, key=lambda event: event.ended)
        self.commits: dict[str, Commit] = {}
        for event in self.events:
            mark = getattr(event.what, "mark", None)
            if mark is not None:
                self.commits.setdefault(mark, Commit(mark, event)).add(event)

    def of(self, *kinds: type) -> list[Event]:
        """Return the events of these kinds."""
        return [event for event in self.events if isinstance(event.what, kinds)]


class Case:
    """The history and the database, as the rules see them."""

    def __init__(self, history: History, transactions: Iterable[Transaction]) -> None:
        self.database = Database(transactions)
        events: defaultdict[str, list[Event]] = defaultdict(list)
        for event in history.events:
            events[event.client].append(event)
        self.clients = [Client(name, events[name]) for name in sorted(events)]
        #: The tids of all transactions; also of those that have changed nothing.
        self.tids = {z64, *self.database.tids}
        for client in self.clients:
            for commit in client.commits.values():
                if commit.is_empty and commit.finished is not None:
                    self.tids.add(tid_of(commit.finished))


class Highest:
    """The highest tid of some events at any time."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._times: list[int] = []
        self._highest: list[Event] = []
        for event in events:
            highest = self._highest[-1] if self._highest else event
            self._times.append(event.ended)
            self._highest.append(event if tid_of(event) > tid_of(highest) else highest)

    def before(self, time: int) -> Event | None:
        """Return the event with the highest tid of those that had ended before a time."""
        index = bisect_left(self._times, time)
        return self._highest[index - 1] if index else None


def tid_of(event: Event) -> bytes:
    """Return the tid of an event of a kind that has one."""
    what: Any = event.what
    tid: bytes = what.tid
    return tid
