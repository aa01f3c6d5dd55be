"""The state of a server when somebody asks, as values that others may keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .histogram import Histogram
from .server import ServerFigures

__all__ = [
    "CacheReport",
    "ConnectionReport",
    "ConnectionState",
    "FollowersReport",
    "LockReport",
    "PackReport",
    "QueueReport",
    "ReaderReport",
    "ServerReport",
    "StandbyReport",
    "StorageReport",
    "TransactionReport",
    "Turn",
]


class TransactionReport(NamedTuple):
    """The transaction that a client has begun. User and description are the client's own words."""

    phase: str
    #: How long ago it began (seconds).
    age: float
    user: str
    description: str
    #: How many objects it changes, and by how many bytes.
    objects: int
    size: int


class ConnectionState(NamedTuple):
    """The few facts about a connection that reports about all of them need."""

    #: Encoding and version, such as ``M6``; empty before the handshake.
    protocol: str
    registered: bool
    #: How many bytes wait for it, and since when it takes none (seconds; 0: it does).
    queued: int
    lag: float
    #: How long (seconds) it has been silent although it was asked for an answer; 0: it answers.
    silent: float
    in_transaction: bool


class ConnectionReport(NamedTuple):
    """One connection."""

    #: A number that no other connection of this server has had.
    number: int
    #: What the client calls itself; empty if it does not.
    label: str
    #: What it has proved to be; empty if nothing.
    user: str
    address: str
    #: ``5`` or ``6``; empty before the handshake.
    version: str
    #: ``Z`` (pickles) or ``M`` (msgpack); empty before the handshake.
    encoding: str
    #: The storage; None before the registration.
    storage_id: str | None
    read_only: bool
    #: How long ago it connected, and made its last call (seconds).
    age: float
    idle: float
    #: How many bytes wait for it, and since when it takes none (seconds; 0: it does).
    queued: int
    lag: float
    #: How long (seconds) it has been silent although it was asked for an answer; 0: it answers.
    silent: float
    #: How many of its calls are under way.
    under_way: int
    transaction: TransactionReport | None


class Turn(NamedTuple):
    """A transaction that holds the commit lock, or waits for it."""

    client: str
    seconds: float
    #: The number of the client's connection; see `ConnectionReport`.
    number: int


class LockReport(NamedTuple):
    """The commit lock of a storage. The first of `waiting` is the next."""

    holders: Sequence[Turn]
    waiting: Sequence[Turn]
    #: How long transactions have waited, and held it.
    waits: Histogram
    holds: Histogram


class QueueReport(NamedTuple):
    """The queue of invalidations, for clients that come back."""

    transactions: int
    size: int
    #: The time (seconds since the epoch) of the oldest transaction after which all are known; None
    #: if there is none.
    since: float | None


class CacheReport(NamedTuple):
    """The records in memory: how many, how many bytes, and how many loads they have answered."""

    records: int
    size: int
    hits: int


class PackReport(NamedTuple):
    """The packs of a storage."""

    running: int
    #: When the one that runs began (seconds since the epoch); None if none runs.
    since: float | None
    #: How much of the copying is done, from 0 to 1, and how long (seconds) the rest may take; None
    #: if it has not begun, or is not known.
    done: float | None
    left: float | None
    #: While it looks for garbage, before that: how much it has looked through; None if it is not
    #: known.
    searched: float | None = None


class ReaderReport(NamedTuple):
    """A client that reads the log of a storage's transactions, such as a backup."""

    client: str
    #: The number of the client's connection; see `ConnectionReport`.
    number: int
    #: For how long it has read (seconds), and which part it has, from 0 to 1.
    seconds: float
    done: float
    #: How long the rest may take (seconds); None if that is not known.
    left: float | None


class StandbyReport(NamedTuple):
    """A storage that follows another one."""

    #: The addresses of the primary.
    primary: str
    #: What it does, in words.
    state: str
    #: Why it cannot follow; empty if it can.
    problem: str
    #: For how long (seconds) it has not had everything that the primary has, and how long is too
    #: long.
    lag: float
    most_lag: float
    #: The last transaction that it has, in hexadecimal digits.
    last: str


class FollowersReport(NamedTuple):
    """The standbys that acknowledge what they have."""

    connected: int
    #: Whether commits are to wait for them, and whether they do.
    wanted: bool
    synchronous: bool


class StorageReport(NamedTuple):
    """One storage that is served."""

    name: str
    #: What the storage calls itself, such as the path of its file.
    title: str
    #: Its counts; see `storage.status`.
    stats: Any
    connections: int
    read_only: bool
    #: Why it cannot be used; empty if it can.
    problem: str
    #: Bytes and number of objects; None if they are not known yet.
    size: int | None
    objects: int | None
    #: The time (seconds since the epoch) of its last transaction; None if it has none.
    last_transaction: float | None
    lock: LockReport
    queue: QueueReport
    cache: CacheReport
    packs: PackReport
    #: None if it follows no other storage.
    standby: StandbyReport | None = None
    followers: FollowersReport = FollowersReport(0, False, False)
    #: Who reads the log; who has the most left is first.
    readers: Sequence[ReaderReport] = ()


class ServerReport(NamedTuple):
    """The whole server.

    :ivar limits: for each limit: used, most, peak, struck.
    """

    figures: ServerFigures
    storages: Sequence[StorageReport]
    #: Encoding and version, such as ``M6``, and how many registered connections have it.
    versions: Mapping[str, int]
    #: How many connections have not registered.
    unregistered: int
    #: How many clients do not take what they are sent, and for how long the worst (seconds).
    slow: int
    lag: float
    limits: Mapping[str, tuple[int, int, int, int]]
    #: Attempts to log in that failed; connections that asked for the status, or for nothing.
    failed_logins: int
    health_checks: int
    probes: int
    draining: bool
