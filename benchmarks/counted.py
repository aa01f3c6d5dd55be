"""What records that come ahead save and cost, by count: ``python -m benchmarks.counted --help``.

ZODB, our client's cache, and what guesses at both ends are at work, in one process and without a
line. Time is not measured but counted, so that a busy machine does not matter: a round trip for
each call, and what ends and application take for a load and for each record. The table has the
ratios to a client with ``read_ahead=False``.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from zeotwisted.clientstorage.cache import ClientCache
from zeotwisted.clientstorage.calls import Waiter
from zeotwisted.clientstorage.records.coherence import Coherence
from zeotwisted.clientstorage.records.loads import into_cache
from zeotwisted.clientstorage.speculation import AheadLoads
from zeotwisted.protocol import LOAD_AHEAD
from zeotwisted.storageserver.speculation import Allowance, Speculation
from zeotwisted.storageserver.storage.recordcache import RecordCache
from zeotwisted.storageserver.storage.records import Records

from .graphs import fill
from .measures.distance import COUNTS, PAGE
from .oddgraphs import ODD_WALKS, odd_storage
from .report import table
from .stage import MIB
from .walks import WALKS

__all__ = ["Outcome", "play"]

#: How long things take (seconds): a load without its round trip, one that brings more, each record
#: that it brings, and what an application does with a record.
_LOAD = 90e-6
_ASK = 105e-6
_EACH = 25e-6
_USE = 30e-6

#: How many bytes an answer has besides the record.
_HEAD = 45

_RECORD_CACHE = 32 * MIB

#: How many processes go the way; the last one counts.
_VISITS = {"page": 3}

Walk = Callable[[Any], None]


class Outcome(NamedTuple):
    """What a walk took."""

    seconds: float
    round_trips: int
    received: int
    unused: int


class _Line:
    """The place of a connection to a daemon."""

    capabilities = {LOAD_AHEAD: {}}

    def __init__(self, records: Records, speculation: Speculation, round_trip: float) -> None:
        self.now = 0.0
        self.round_trips = self.received = 0
        self.round_trip = round_trip
        self._records = records
        self._speculation = speculation

    def seconds(self) -> float:
        return self.now

    def load(self, waiter: Waiter, oid: bytes, tid: bytes) -> Any:
        """See `ClientProtocol.load`."""
        revision = self._records.load_before(self, oid, tid)
        self._count(_LOAD, len(revision[0]))
        waiter.callback(revision)
        return waiter.wait()

    def ask(self, waiter: Waiter, name: str, oid: bytes, tid: bytes, *wish: Any) -> Any:
        """See `ClientProtocol.ask`."""
        revision = self._records.load_before(self, oid, tid)
        records, size, least, used, thread = wish
        before = self._speculation.records
        packed = self._speculation.ahead(
            self, oid, tid, revision, records, size, least / 1000, used, thread
        )
        came = self._speculation.records - before
        self._count(_ASK + came * _EACH, len(revision[0]) + len(packed))
        waiter.callback((revision, packed))
        return waiter.wait()

    def _count(self, seconds: float, size: int) -> None:
        self.now += self.round_trip + seconds
        self.round_trips += 1
        self.received += size + _HEAD


class _Client:
    """The place of a `ClientStorage`."""

    def __init__(self, storage: Any, line: Any, reads_ahead: bool, cache_size: int) -> None:
        self._storage = storage
        self._line = line
        self.cache = ClientCache(cache_size)
        self.cache.setLastTid(storage.lastTransaction())
        self._coherence = Coherence(self.cache, lambda tid, oids: None, lambda: None)
        self._ahead = AheadLoads(self._coherence, cache_size, line.seconds) if reads_ahead else None
        self.seen: set[bytes] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def close(self) -> None:
        """Another client needs the storage."""

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        self._line.now += _USE
        self.seen.add(oid)
        cached = self._coherence.load_before(oid, tid)
        if cached is not None:
            if self._ahead is not None and oid in self._ahead.unused:
                self._ahead.note_use(oid)
            return cached
        keep = into_cache(self._coherence, oid)
        if self._ahead is not None:
            return self._ahead.load(self._line, oid, tid, keep)
        return self._line.load(Waiter(keep), oid, tid)


def play(
    storage: Any, walk: Walk, round_trip: float, reads_ahead: bool, visits: int, cache_size: int
) -> Outcome:
    """Have some processes go a way, one after the other; return what the last one took."""
    records = Records(storage, RecordCache(_RECORD_CACHE), None)
    line = _Line(records, Speculation(records.find), round_trip)
    speculation = Speculation(records.find, Allowance(lambda: line.now))
    now = 0.0
    for _ in range(visits):
        line = _Line(records, speculation, round_trip)
        line.now = began = now
        client = _Client(storage, line, reads_ahead, cache_size)
        database = DB(client)
        connection = database.open()
        walk(connection.root())
        connection.close()
        database.close()
        speculation.leave(line)
        now = line.now
    unused = client.cache.statistics.stores - len(client.seen)
    return Outcome(now - began, line.round_trips, line.received, unused)


def _walks(folder: Path, scale: float) -> list[tuple[str, Any, Walk]]:
    path = folder / "objects.fs"
    fill(path)
    storage = FileStorage(str(path), read_only=True)
    odd = odd_storage(scale)
    walks: list[tuple[str, Any, Walk]] = []
    for name, walk in WALKS.items():
        count = max(int((COUNTS | {"page": PAGE})[name] * scale), 2)
        walks.append((name, storage, lambda root, walk=walk, count=count: walk(root, count, 1)))
    for name, odd_walk in ODD_WALKS.items():
        walks.append((name, odd, lambda root, walk=odd_walk: walk(root, random.Random(1))))
    return walks


def main() -> int:
    """Do what the command's arguments say; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counted", description=__doc__)
    parser.add_argument("--round-trip", type=float, nargs="+", default=[0.2, 1, 5], metavar="MS")
    parser.add_argument("--cache-size", type=int, default=200 * MIB, metavar="BYTES")
    parser.add_argument("--scale", type=float, default=1.0, metavar="FACTOR")
    options = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        for name, storage, walk in _walks(Path(folder), options.scale):
            cells = [name]
            for milliseconds in options.round_trip:
                off, on = (
                    play(
                        storage,
                        walk,
                        milliseconds / 1000,
                        reads_ahead,
                        _VISITS.get(name, 1),
                        options.cache_size,
                    )
                    for reads_ahead in (False, True)
                )
                cells += [
                    f"{on.seconds / off.seconds:.2f}",
                    f"{on.round_trips / off.round_trips:.2f}",
                    f"{on.received / off.received:.2f}",
                    str(on.unused),
                ]
            lines.append(cells)
    header = ["workload"]
    for milliseconds in options.round_trip:
        header += [f"{milliseconds:g} ms: time", "trips", "bytes", "unused"]
    print(table(header, lines, 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
