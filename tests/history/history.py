"""What clients have seen and done, as a list of events.

An event is recorded when a call has returned, and knows when the call began. Times are counted, not
measured: each is a number that no other event of the history has. If one call ended before another
one began, the numbers say so. If they do not, the calls overlapped, and either may have been first.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Protocol

__all__ = [
    "Cached",
    "Checked",
    "Event",
    "Failed",
    "Finished",
    "Finishing",
    "History",
    "HistoryFile",
    "Invalidated",
    "InvalidatedAll",
    "Noted",
    "Notes",
    "Read",
    "ReadSerial",
    "Snapshot",
    "Stored",
    "Undone",
    "Voted",
    "What",
    "digest",
    "read_history",
]


class Snapshot(NamedTuple):
    """`lastTransaction` returned `tid`."""

    tid: bytes


class Read(NamedTuple):
    """`loadBefore(oid, before)`, or `load` with the highest `before`, returned a revision.

    `data` is its digest. `data` and `serial` are None if there was none.
    """

    oid: bytes
    before: bytes
    data: bytes | None
    serial: bytes | None
    end: bytes | None


class ReadSerial(NamedTuple):
    """`loadSerial(oid, serial)` returned data with this digest."""

    oid: bytes
    serial: bytes
    data: bytes


class Invalidated(NamedTuple):
    """The storage has told the database that `oids` have changed up to the transaction `tid`."""

    tid: bytes
    oids: tuple[bytes, ...]


class InvalidatedAll(NamedTuple):
    """The storage has told the database that any object may have changed."""


class Cached(NamedTuple):
    """The client's cache, which is up to date with `last`, has a revision of an object.

    `end` is None if it is the current one.
    """

    last: bytes
    oid: bytes
    serial: bytes
    end: bytes | None
    data: bytes


class Stored(NamedTuple):
    """A commit stores data with this digest in place of the revision `serial`; None: deletes."""

    mark: str
    oid: bytes
    serial: bytes
    data: bytes | None


class Checked(NamedTuple):
    """A commit demands that the revision `serial` is still the current one."""

    mark: str
    oid: bytes
    serial: bytes


class Undone(NamedTuple):
    """A commit undoes the transaction `tid`."""

    mark: str
    tid: bytes


class Voted(NamedTuple):
    """`tpc_vote` has returned; the conflicts of `resolved` were resolved."""

    mark: str
    resolved: tuple[bytes, ...]


class Finishing(NamedTuple):
    """`tpc_finish` is going to be called. A commit without this event must never happen."""

    mark: str


class Noted(NamedTuple):
    """`tpc_finish` has called the database, which has noted the whole transaction."""

    mark: str
    tid: bytes


class Finished(NamedTuple):
    """`tpc_finish` has returned `tid`."""

    mark: str
    tid: bytes


class Failed(NamedTuple):
    """`tpc_finish` has raised an exception.

    :ivar never: whether it promises that the transaction is not committed.
    """

    mark: str
    error: str
    never: bool


What = (
    Snapshot
    | Read
    | ReadSerial
    | Invalidated
    | InvalidatedAll
    | Cached
    | Stored
    | Checked
    | Undone
    | Voted
    | Finishing
    | Noted
    | Finished
    | Failed
)

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in What.__args__}


class Event(NamedTuple):
    """Something that a client has seen or done.

    :ivar client: its name, which no other client of the same database has.
    :ivar began: when the call began.
    :ivar ended: when it had returned; the number of the event.
    """

    client: str
    began: int
    ended: int
    what: What


def digest(data: bytes) -> bytes:
    """Return what stands for a record's data in a history."""
    return blake2b(data, digest_size=8).digest()


class Notes(Protocol):
    """Where events are recorded: a `History` or a `HistoryFile`."""

    def now(self) -> int:
        """Return the next number."""

    def add(self, client: str, began: int, what: What) -> None:
        """Record an event that ends now."""


class History:
    """Events in memory. Any number of threads or greenlets may add to it.

    :ivar events: in the order in which they were added.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events = list(events)
        # In CPython, counting and appending are atomic, so there is no lock that could change what
        # the threads do.
        self.now = itertools.count(1 + max((e.ended for e in self.events), default=0)).__next__

    def add(self, client: str, began: int, what: What) -> None:
        """Record an event that ends now."""
        self.events.append(Event(client, began, self.now(), what))


class HistoryFile:
    """Events in a file, one line each, for a process that may be killed.

    When `add` returns, the operating system has the line.

    :param path: a new file.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        self.now = itertools.count(1).__next__

    def add(self, client: str, began: int, what: What) -> None:
        """Record an event that ends now."""
        line = [client, began, self.now(), type(what).__name__, *what]
        os.write(self._file, json.dumps(line, default=_packed).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_history(paths: Iterable[Path]) -> History:
    """Return the events of several files. A last line that is not complete does not count.

    :raises ValueError: another line cannot be read.
    """
    events = []
    for path in paths:
        *lines, _ = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                client, began, ended, kind, *fields = json.loads(line, object_hook=_unpacked)
                what = _KINDS[kind](*map(_as_tuple, fields))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number} is no event: {error}") from error
            events.append(Event(client, began, ended, what))
    return History(events)


def _packed(value: Any) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    raise TypeError(f"{value!r} cannot be in an event")


def _unpacked(value: dict[str, str]) -> bytes:
    return bytes.fromhex(value["hex"])


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
