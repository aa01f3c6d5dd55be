"""``zeotwisted verify``: loads every record of a storage, and looks for what records refer to.

First it follows the references from the root, and loads many records at a time. Then it asks which
records there are, and loads those that nothing has led to, if the server can tell. All of it is the
state at one transaction. It keeps sixteen bytes for each object in memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from itertools import islice

from BTrees.LLBTree import LLBTree, LLTreeSet
from ZODB.POSException import POSError, POSKeyError, Unsupported
from ZODB.serialize import referencesf
from ZODB.utils import p64, tid_repr, u64, z64

from zeotwisted.clientstorage import ClientStorage
from zeotwisted.exceptions import AccessDenied, ClientDisconnected
from zeotwisted.protocol import split

from .connecting import connected
from .progress import Progress
from .shown import printable, time_of, when
from .target import add_connection, add_json, add_login, target

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Load every record of a storage, and look for what is missing or damaged"

#: How many records are asked for at a time.
_BATCH = 1000

#: The client's cache has to hold a batch (bytes).
_CACHE = 256 * 1024 * 1024

#: How many records in succession may be damaged so that the storage cannot go on behind them.
_MOST_FAILURES = 1000

#: The highest oid that a set of signed numbers can hold.
_HIGHEST = 2**63 - 1

#: Is told of each fault: the oid, and what is wrong.
Report = Callable[[bytes, str], None]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser)
    add_login(parser)
    add_json(parser)
    parser.add_argument(
        "--reachable",
        action="store_true",
        help="only what the root leads to; not what a pack would remove",
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify; print each fault; return 1 if there is any."""
    where = target(arguments)
    faults = 0
    with (
        connected(where, cache_size=_CACHE) as client,
        Progress(f"verifying {where.text}", "records", len(client)) as progress,
    ):

        def report(oid: bytes, what: str) -> None:
            nonlocal faults
            faults += 1
            what = printable(what)
            progress.clear()
            if arguments.json:
                print(json.dumps({"oid": oid.hex(), "fault": what}), flush=True)
            else:
                print(f"{_shown(oid)}: {what}", flush=True)

        last = client.lastTransaction()
        check = _Verification(client, last, report, progress)
        check.reachable()
        if not arguments.reachable:
            try:
                check.others()
            except Unsupported as error:
                progress.clear()
                print(f"zeotwisted: {error}", file=sys.stderr)
        count = check.count
    if arguments.json:
        print(json.dumps({"records": count, "faults": faults, "transaction": last.hex()}))
    else:
        state = "an empty storage" if last == z64 else f"the state of {when(time_of(last))}"
        print(
            f"{where.text}, storage {where.storage}: {count} records, {faults} faults, "
            f"{state} (transaction {tid_repr(last)})"
        )
    return 1 if faults else 0


def _shown(oid: bytes) -> str:
    return f"object 0x{u64(oid):016x}"


def _uncompressed(data: bytes) -> bytes:
    """Return a record as it was before zc.zlibstorage, which clients may use, has compressed it."""
    return zlib.decompress(data[2:]) if data.startswith(b".z") else data


class _Verification:
    """Verifies the state of a storage at a transaction.

    :param last: the transaction.
    :ivar count: how many records were loaded.
    """

    def __init__(
        self, client: ClientStorage, last: bytes, report: Report, progress: Progress
    ) -> None:
        self._client = client
        self._last = last
        self._before = p64(u64(last) + 1)
        self._report = report
        self._progress = progress
        self.count = 0
        # The oids that were found so far; and those of them that are not loaded yet, each with one
        # that refers to it, or with itself.
        self._found = LLTreeSet()
        self._waiting = LLBTree()

    def reachable(self) -> None:
        """Verify the root, and all that it leads to."""
        if self._last != z64:
            self._add(z64, z64)
            self._load_all()

    def others(self) -> None:
        """Verify the records that the root does not lead to, and what those lead to.

        :raises ZODB.POSException.Unsupported: the storage cannot tell which records it has.
        """
        if not len(self._client):
            return
        for oid in self._all_oids():
            self._add(oid, oid)
            if len(self._waiting) >= _BATCH:
                self._load_all()
        self._load_all()

    def _all_oids(self) -> Iterator[bytes]:
        following: bytes | None = None
        failures = 0
        while True:
            try:
                oids, tids, following = self._some_oids(following)
            except (AccessDenied, ClientDisconnected):
                raise
            except POSError as error:
                if failures and error.args[:1] == ("builtins.ValueError",):
                    # Behind an object that could not be read, there is none.
                    return
                failures += 1
                if following is None or len(following) != 8 or failures > _MOST_FAILURES:
                    raise Unsupported(
                        "the storage cannot tell which records it has; only what the root leads to "
                        "is verified"
                    ) from error
                # It is an oid. Go on behind that object, and have it reported when it is loaded.
                yield following
                following = p64(u64(following) + 1)
                continue
            failures = 0
            for oid, tid in zip(oids, tids, strict=True):
                # What was changed meanwhile may be new.
                if tid <= self._last:
                    yield oid
            if following is None:
                return

    def _some_oids(self, following: bytes | None) -> tuple[list[bytes], list[bytes], bytes | None]:
        """Return some oids, the tids of their current records, and how to go on."""
        try:
            oids, tids, following = self._client.steer("record_oids", following)
        except Unsupported:
            oid, tid, _, following = self._client.record_iternext(following)
            return [oid], [tid], following
        return split(oids), split(tids), following

    def _load_all(self) -> None:
        while self._waiting:
            # In the order of the oids, which often is that of the file.
            some = list(islice(self._waiting.items(), _BATCH))
            self._client.prefetch([p64(number) for number, _ in some], self._before)
            for number, referrer in some:
                del self._waiting[number]
                data = self._load(p64(number), p64(referrer))
                if data is not None:
                    self._follow(p64(number), data)
            self._progress.update(self.count)

    def _load(self, oid: bytes, referrer: bytes) -> bytes | None:
        try:
            found = self._client.loadBefore(oid, self._before)
        except POSKeyError:
            found = None
        except (AccessDenied, ClientDisconnected):
            raise
        except POSError as error:
            self._report(oid, f"it cannot be loaded: {error or type(error).__name__}")
            return None
        if found is None:
            of = "" if oid == referrer else f", and {_shown(referrer)} refers to it"
            self._report(oid, f"there is no record of it{of}")
            return None
        self.count += 1
        return found[0]

    def _follow(self, oid: bytes, data: bytes) -> None:
        try:
            references = referencesf(_uncompressed(data))
        except Exception as error:
            # The data may be anything, and so may the error of whoever reads it.
            self._report(oid, f"its record cannot be read: {type(error).__name__}: {error}")
            return
        for reference in references:
            if len(reference) != 8 or u64(reference) > _HIGHEST:
                self._report(oid, f"it refers to {reference!r}, which is not the id of an object")
            else:
                self._add(reference, oid)

    def _add(self, oid: bytes, referrer: bytes) -> None:
        number = u64(oid)
        if self._found.insert(number):
            self._waiting[number] = u64(referrer)
