"""Compares what clients have recorded with what the storage has: a table of rules.

The storage's order of the transactions is given, so that nothing has to be searched for. Each rule
looks at one thing, and is told to be broken only if no order of the calls that overlapped would
explain what was recorded.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ZODB.utils import oid_repr, p64, tid_repr, u64, z64

from .case import Case, Client, Commit, Highest, tid_of
from .database import Database, Revision, Transaction
from .history import (
    Cached,
    Event,
    Finished,
    History,
    Invalidated,
    InvalidatedAll,
    Noted,
    Read,
    ReadSerial,
    Snapshot,
)

__all__ = ["RULES", "Rule", "Violation", "check"]


class Violation(NamedTuple):
    """A rule that was broken: what was seen, what the database has, and the events that show it."""

    rule: str
    text: str
    events: tuple[Event, ...]

    def __str__(self) -> str:
        shown = ", ".join(f"{event.client}:{event.ended}" for event in self.events)
        return f"{self.rule}: {self.text} (events {shown})"


#: A rule yields what was seen, and the events that show it, whenever it is broken.
Rule = Callable[[Case], Iterable[tuple[str, Sequence[Event]]]]


def check(
    history: History, transactions: Iterable[Transaction], rules: Mapping[str, Rule] | None = None
) -> list[Violation]:
    """Return where a history contradicts the database.

    The storage must not have been packed, as old revisions must be there to be compared.

    :param transactions: see `transactions_of`.
    :param rules: what to check, by name; `RULES` by default. A program that knows more about its
        data, such as a sum, adds a rule of its own.
    """
    case = Case(history, transactions)
    return [
        Violation(name, text, tuple(events))
        for name, rule in (RULES if rules is None else rules).items()
        for text, events in rule(case)
    ]


# Each rule below, and `RULES` after them.


def _reads(case: Case) -> Iterator[tuple[str, Sequence[Event]]]:
    """Each read returns what the database had at the reader's snapshot.

    Transactions that the client knew of when the read began are visible to it. Others may be, if
    they are before the tid that the client asked for.
    """
    for client in case.clients:
        highest = Highest(client.of(Snapshot, Invalidated, Noted, Finished))
        for event in client.of(Read):
            known = highest.before(event.began)
            wrong = _wrong_read(case.database, event.what, z64 if known is None else tid_of(known))
            if wrong:
                yield f"{client.name} read {wrong}", [event] if known is None else [known, event]
        for event in client.of(ReadSerial):
            read: Any = event.what
            revision = case.database.revision(read.oid, read.serial)
            if revision is None or revision.data != read.data:
                text = f"{client.name} read other data as {_revision(read.oid, read.serial)}"
                yield f"{text}, the database has {_shown(read.oid, revision)}", [event]


def _wrong_read(database: Database, read: Any, known: bytes) -> str | None:
    """Return what was read and what the database has, if that is not the same."""
    certain = database.last_before(read.oid, min(read.before, _following(known)))
    if read.serial is None:
        wrong = _wrong_absence(database, read, certain)
        found = f"no {oid_repr(read.oid)}" if wrong else ""
    else:
        wrong = _wrong_revision(database, read, certain) or _wrong_end(database, read, known)
        found = _revision(read.oid, read.serial) if wrong else ""
    return f"{found} before {tid_repr(read.before)}{wrong}" if wrong else None


def _wrong_absence(database: Database, read: Any, certain: Revision | None) -> str | None:
    if certain is None or any(
        revision.data is None for revision in _revisions(database, read.oid, certain, read.before)
    ):
        return None
    return f", the database has {_shown(read.oid, certain)}"


def _wrong_revision(database: Database, read: Any, certain: Revision | None) -> str | None:
    revision = database.revision(read.oid, read.serial)
    if revision is None:
        return ", which the database does not have"
    if revision.data != read.data:
        return " with other data than the database has"
    if read.serial >= read.before:
        return ", which is too new"
    if certain is not None and read.serial < certain.tid:
        return f", the database has {_shown(read.oid, certain)}"
    return None


def _wrong_end(database: Database, read: Any, known: bytes) -> str | None:
    following = database.first_after(read.oid, read.serial)
    if read.end is None:
        if following is None or following.tid > known:
            return None
        return f" as the current one, the next is {_shown(read.oid, following)}"
    if following is None or following.tid != read.end:
        return f" until {tid_repr(read.end)}, the next is {_shown(read.oid, following)}"
    if read.end < read.before:
        return f", although it is known to have changed in {tid_repr(read.end)}"
    return None


def _revisions(
    database: Database, oid: bytes, first: Revision | None, before: bytes
) -> Iterator[Revision]:
    """Yield the revisions of an object from `first` on, before a tid."""
    while first is not None and first.tid < before:
        yield first
        first = database.first_after(oid, first.tid)


def _snapshots(case: Case) -> Iterator[tuple[str, Sequence[Event]]]:
    """The snapshots of a client are states of the database, and never go back."""
    for client in case.clients:
        snapshots = client.of(Snapshot)
        highest = Highest(snapshots)
        for event in snapshots:
            tid = tid_of(event)
            earlier = highest.before(event.began)
            if tid not in case.tids:
                text = f"{client.name} has the snapshot {tid_repr(tid)}"
                yield f"{text}, which the database does not have", [event]
            if earlier is not None and tid_of(earlier) > tid:
                text = (
                    f"{client.name} went back from {tid_repr(tid_of(earlier))} to {tid_repr(tid)}"
                )
                yield text, [earlier, event]


def _news(case: Case) -> Iterator[tuple[str, Sequence[Event]]]:
    """The snapshots of a client contain what its database was told of.

    ZEO's client tells the database first, and takes over the last transaction then.
    """
    for client in case.clients:
        # What was told before the client began again counts no more.
        again = max((event.ended for event in client.of(InvalidatedAll)), default=0)
        told = Highest(event for event in client.of(Invalidated) if event.ended > again)
        snapshots = client.of(Snapshot)
        highest = Highest(snapshots)
        for event in snapshots:
            tid = tid_of(event)
            earlier = highest.before(event.began)
            if earlier is not None and tid_of(earlier) > tid:
                # It went back, which is another rule.
                continue
            news = told.before(event.began)
            if news is not None and tid_of(news) > tid:
                text = f"{client.name} was told of {tid_repr(tid_of(news))}"
                yield f"{text}, and has the snapshot {tid_repr(tid)} then", [news, event]


def _own_commits(case: Case) -> Iterator[tuple[str, Sequence[Event]]]:
    """A client sees its own commits: its database was told, and snapshots contain them then."""
    for client in case.clients:
        highest = Highest(client.of(Noted, Finished))
        for event in client.of(Snapshot):
            own = highest.before(event.began)
            if own is not None and tid_of(own) > tid_of(event):
                text = f"{client.name} committed {tid_repr(tid_of(own))}"
                yield f"{text}, and has the snapshot {tid_repr(tid_of(event))} then", [own, event]
        for commit in client.commits.values():
            tids = [tid_repr(tid_of(event)) for event in commit.noted]
            if commit.finished and tids != [tid_repr(tid_of(commit.finished))]:
                text = f"{client.name} committed {tid_repr(tid_of(commit.finished))}"
                yield f"{text}, and its database was told {tids}", [*commit.noted, commit.finished]


def _outcomes(case: Case) -> Iterator[tuple[str, Sequence[Event]]]:
    """A commit is there once if it was reported, never if that was reported, else at most once."""
    for client in case.clients:
        for commit in client.commits.values():
            tids = [transaction.tid for transaction in case.database.marked[commit.mark]]
            promise = _promise(commit)
            if promise is not None and tids not in promise.allowed and not commit.is_empty:
                there = ", ".join(map(tid_repr, tids)) or "nothing"
                yield f"{commit.mark} {promise.text}, the database has {there}", [commit.last]
            elif len(tids) > 1:
                there = ", ".join(map(tid_repr, tids))
                yield f"{commit.mark} is there more than once: {there}", [commit.last]


class _Promise(NamedTuple):
    text: str
    allowed: list[list[bytes]]


def _promise(commit: Commit) -> _Promise | None:
    """Return what is certain about a commit; None if it is in doubt."""
    if not commit.finishing:
        return _Promise("was never finished", [[]])
    if commit.finished is not None:
        tid = tid_of(commit.finished)
        return _Promise(f"is committed as {tid_repr(tid)}", [[tid]])
    failed: Any = commit.failed and commit.failed.what
    if failed is not None and failed.never:
        return _Promise(f"is not committed ({failed.error})", [[]])
    return None


def _contents(case: Case) -> Iterator[tuple[str, Sequence[Event]]]:
    """A transaction of the database has what its client has stored, all of it and no more."""
    for client, commit, transaction in _committed(case):
        found = case.database
        changed = transaction.records.keys()
        if not commit.stores.keys() <= changed or (
            not commit.undoes and not changed <= commit.stores.keys() | commit.resolved
        ):
            stored, has = (", ".join(map(oid_repr, sorted(a))) for a in (commit.stores, changed))
            text = f"{client.name} stored {stored} in {tid_repr(transaction.tid)}"
            yield f"{text}, the database has {has or 'nothing'}", [commit.last]
        for oid, stored_ in commit.stores.items():
            revision = found.revision(oid, transaction.tid)
            if revision and oid not in commit.resolved and revision.data != stored_.data:
                text = f"{client.name} stored other data than {_revision(oid, transaction.tid)} has"
                yield text, [commit.last]


def _lost_updates(case: Case) -> Iterator[tuple[str, Sequence[Event]]]:
    """A commit replaces the revision that it has read, and what it has read is current."""
    for client, commit, transaction in _committed(case):
        if commit.undoes:
            # Undoing and storing the same object is beyond this rule.
            continue
        reads: list[Any] = [*commit.stores.values(), *commit.checks]
        for read in reads:
            replaced = case.database.last_before(read.oid, transaction.tid)
            if read.oid in commit.resolved or replaced is None or replaced.data is None:
                continue
            if replaced.tid != read.serial:
                text = f"{client.name} committed {tid_repr(transaction.tid)}"
                text = f"{text} with {_revision(read.oid, read.serial)} as the current one"
                yield f"{text}, the database had {_shown(read.oid, replaced)}", [commit.last]


def _committed(case: Case) -> Iterator[tuple[Client, Commit, Transaction]]:
    for client in case.clients:
        for commit in client.commits.values():
            transactions = case.database.marked[commit.mark]
            if len(transactions) == 1:
                yield client, commit, transactions[0]


def _invalidations(case: Case) -> Iterator[tuple[str, Sequence[Event]]]:
    """A database knows what has changed up to each tid that its storage names.

    It knows its own commits. Of others it was told, with their own tids, or with a later one that
    stands for several transactions.
    """
    for client in case.clients:
        told = _Told()
        transactions: Iterator[Transaction] | None = None
        transaction: Transaction | None = None
        for event in client.of(Snapshot, Invalidated, InvalidatedAll, Noted):
            told.add(event)
            if isinstance(event.what, InvalidatedAll):
                continue
            tid = tid_of(event)
            if tid not in case.tids and not isinstance(event.what, Snapshot):
                text = f"{client.name} was told of {tid_repr(tid)}"
                yield f"{text}, which the database does not have", [event]
            if transactions is None:
                if not isinstance(event.what, Snapshot) or tid == z64:
                    continue
                # Its first snapshot that has anything. What was before is new to it anyway.
                start = bisect_left(case.database.tids, _following(tid))
                transactions = iter(case.database.transactions[start:])
                transaction = next(transactions, None)
            while transaction is not None and transaction.tid <= tid:
                missing = told.missing(transaction)
                if missing:
                    text = f"{client.name} is up to date with {tid_repr(tid)}, and was not told of"
                    oids = ", ".join(map(oid_repr, missing))
                    yield f"{text} {oids} in {tid_repr(transaction.tid)}", [event]
                transaction = next(transactions, None)


def _order(case: Case) -> Iterator[tuple[str, Sequence[Event]]]:
    """A database is told of each transaction once, in the storage's order.

    A commit of its own whose outcome was not known may come later.
    """
    for client in case.clients:
        own = {
            transaction.tid for mark in client.commits for transaction in case.database.marked[mark]
        }
        latest: Event | None = None
        noted: set[bytes] = set()
        for event in client.of(Invalidated, InvalidatedAll, Noted):
            if isinstance(event.what, InvalidatedAll):
                latest = None
                continue
            tid = tid_of(event)
            if isinstance(event.what, Noted):
                noted.add(tid)
            elif latest is not None and tid <= tid_of(latest) and (tid not in own or tid in noted):
                text = f"{client.name} was told of {tid_repr(tid)}"
                yield f"{text} after {tid_repr(tid_of(latest))}", [latest, event]
            if latest is None or tid > tid_of(latest):
                latest = event


def _caches(case: Case) -> Iterator[tuple[str, Sequence[Event]]]:
    """What a client has cached is what the database has, up to the tid that the cache knows."""
    for client in case.clients:
        for event in client.of(Cached):
            held: Any = event.what
            revision = case.database.revision(held.oid, held.serial)
            following = case.database.first_after(held.oid, held.serial)
            if revision is None or revision.data != held.data:
                wrong = f", the database has {_shown(held.oid, revision)}"
            elif held.end is None and following is not None and following.tid <= held.last:
                wrong = f" as the current one, the next is {_shown(held.oid, following)}"
            elif held.end is not None and (following is None or following.tid != held.end):
                wrong = f" until {tid_repr(held.end)}, the next is {_shown(held.oid, following)}"
            else:
                continue
            text = f"{client.name} has cached {_revision(held.oid, held.serial)}{wrong}"
            yield f"{text}; its cache knows {tid_repr(held.last)}", [event]


class _Told:
    """What a database was told so far.

    After it was told that anything may have changed, it knows all up to its next snapshot. What it
    is told of in between may be older: a commit of its own, whose outcome was not known.
    """

    def __init__(self) -> None:
        self._everything = False
        self._up_to = z64
        self._own: set[bytes] = set()
        self._latest: dict[bytes, bytes] = {}

    def add(self, event: Event) -> None:
        match event.what:
            case InvalidatedAll():
                self._everything = True
            case Snapshot(tid):
                if self._everything:
                    self._everything, self._up_to = False, _following(tid)
            case Invalidated(tid, oids):
                for oid in oids:
                    self._latest[oid] = max(tid, self._latest.get(oid, z64))
            case Noted(tid=tid):
                self._own.add(tid)

    def missing(self, transaction: Transaction) -> list[bytes]:
        """Return which of the objects of a transaction the database was not told of."""
        tid = transaction.tid
        if self._everything or tid < self._up_to or tid in self._own:
            return []
        return [oid for oid in transaction.records if self._latest.get(oid, z64) < tid]


#: What is checked.
RULES: dict[str, Rule] = {
    "reads": _reads,
    "snapshots": _snapshots,
    "news": _news,
    "own commits": _own_commits,
    "outcomes": _outcomes,
    "contents": _contents,
    "lost updates": _lost_updates,
    "invalidations": _invalidations,
    "order": _order,
    "caches": _caches,
}


def _following(tid: bytes) -> bytes:
    """Return the lowest tid that is higher."""
    return p64(min(u64(tid) + 1, 2**64 - 1))


def _revision(oid: bytes, tid: bytes) -> str:
    return f"{oid_repr(oid)} of {tid_repr(tid)}"


def _shown(oid: bytes, revision: Revision | None) -> str:
    return "none" if revision is None else _revision(oid, revision.tid)
