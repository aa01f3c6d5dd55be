"""What a server counts, and the reports of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZEO
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ReadOnlyError
from ZODB.utils import p64

import zeotwisted
from tests.clientstorage.support import wait_until
from zeotwisted.access import Access
from zeotwisted.exceptions import AccessDenied, ServerException
from zeotwisted.protocol import Role
from zeotwisted.storageserver import ServerOptions
from zeotwisted.storageserver.figures import TIMED, Histogram, Refusal
from zeotwisted.storageserver.storage import Verification
from zeotwisted.storageserver.storage.commitlock import CommitLock
from zeotwisted.storageserver.storage.invalidations import InvalidationQueue
from zeotwisted.storageserver.storage.sizes import KnownSizes

from .conftest import RawClient
from .served import Served, serving
from .storage.test_commitlock import Owner


@given(st.lists(st.floats(0, 100)))
def test_a_histogram_counts_each_duration_once(durations: list[float]) -> None:
    histogram = Histogram((0.1, 1.0, 10.0))
    for each in durations:
        histogram.add(each)
    for bound, count in histogram.cumulated():
        assert count == sum(each <= bound for each in durations)
    assert histogram.count == len(durations)
    assert histogram.sum == pytest.approx(sum(durations))


def test_the_lock_tells_who_has_it_and_who_waits() -> None:
    clock = Clock()
    lock = CommitLock(clock, "1", None)
    a, b = Owner("a"), Owner("b")
    lock.acquire(a)
    clock.advance(3)
    lock.acquire(b)
    clock.advance(2)
    report = lock.report()
    assert [tuple(turn) for turn in report.holders] == [("a", 5, 1)]
    assert [tuple(turn) for turn in report.waiting] == [("b", 2, 1)]
    lock.release(a)
    clock.advance(1)
    lock.release(b)
    report = lock.report()
    assert (report.waits.count, report.waits.sum) == (2, 2)
    assert (report.holds.count, report.holds.sum) == (2, 6)
    assert not report.holders and not report.waiting


def test_the_queue_of_invalidations_tells_what_it_covers() -> None:
    queue = InvalidationQueue(10, 0, p64(0))
    assert queue.report()[::2] == (0, None)
    queue.append(p64(2**57), [p64(1)])
    queue.append(p64(2**58), [p64(1), p64(2)])
    count, size, since = queue.report()
    assert count == 2 and size > 24 and since is None
    queue.forget()
    queue.append(p64(2**59), [p64(1)])
    assert queue.report().transactions == 0 and queue.report().since is not None


def test_a_slow_storage_is_not_asked_for_its_size_again_at_once() -> None:
    from twisted.internet.defer import Deferred

    clock = Clock()
    asked: list[Deferred[Any]] = []

    def call(function: Any) -> Deferred[Any]:
        asked.append(Deferred())
        return asked[-1]

    sizes = KnownSizes(dict, call, clock)
    assert sizes.known() == sizes.known() == {}
    asked[0].callback({"size": 1})
    assert sizes.known() == {"size": 1} and len(asked) == 1
    clock.advance(31)
    assert sizes.known() == {"size": 1} and len(asked) == 2
    asked[1].errback(OSError("gone"))
    assert sizes.known() == {"size": 1}


def test_commits_loads_and_clients(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "Data.fs"), blob_dir=str(tmp_path / "blobs"))
    with serving({"1": storage}) as served:
        db = zeotwisted.DB(served.address, client_label="shop", blob_dir=str(tmp_path / "a"))
        connection = db.open()
        connection.root()["x"] = Blob(b"12345")
        transaction.commit()
        transaction.begin()
        del connection.root()["x"]
        transaction.commit()
        db.undo(db.undoLog(0, 1)[0]["id"])
        transaction.commit()
        other = zeotwisted.DB(served.address, blob_dir=str(tmp_path / "b"))
        with other.transaction() as theirs, theirs.root()["x"].open() as file:
            assert file.read() == b"12345"
        (report,) = served.ask(served.server.report).storages
        calls = served.ask(served.server.report).figures.calls
        stats = report.stats
        assert stats.commits == report.lock.holds.count == 4, "one of them made the root object"
        assert stats.undos == 1
        assert (stats.blob_bytes_sent, stats.blob_bytes_received) == (5, 5)
        assert calls["tpc_finish"].seconds.count == 4
        loads = calls["loadBefore"].seconds
        assert stats.loads > 0
        assert 0 < loads.count <= stats.loads + 2 * TIMED
        assert 0 < loads.sum < loads.count
        assert report.objects == 2 and report.size == (tmp_path / "Data.fs").stat().st_size
        assert time.time() - 60 < report.last_transaction <= time.time() + 1
        assert report.title.endswith("Data.fs") and not report.problem
        named = {each.label: each for each in served.ask(served.server.connections, 10)}
        assert set(named) == {"shop", ""}
        one = named["shop"]
        assert (one.version, one.encoding, one.storage_id) == ("6", "M", "1")
        assert one.address.startswith("127.0.0.1:") and one.transaction is None
        assert 0 <= one.idle <= one.age < 60
        assert len(served.ask(served.server.connections, 1)) == 1
        connection.close()
        db.close()
        other.close()


def test_one_load_is_measured_for_several() -> None:
    with serving({"1": MappingStorage()}) as served:
        db = zeotwisted.DB(served.address)
        client = RawClient(served.address)
        client.ask("register", "1", True)
        seconds = served.server.figures.calls["loadBefore"].seconds
        before = seconds.count
        for _ in range(10 * TIMED):
            client.ask("loadBefore", p64(0), b"\x7f" + b"\xff" * 7)
        assert seconds.count - before == 10 * TIMED
        client.close()
        db.close()


def test_a_transaction_that_waits_is_shown() -> None:
    with serving({"1": MappingStorage()}) as served:
        holder, waiter = RawClient(served.address), RawClient(served.address)
        for number, client in enumerate((holder, waiter)):
            client.ask("register", "1", False)
            client.socket.sendall(client.session.oneway("tpc_begin", 7, "anna", "many words", {}))
            client.socket.sendall(client.session.oneway("storea", p64(number), None, b"record", 7))
        holder.ask("vote", 7)
        waiter.socket.sendall(waiter.session.call(2, "vote", 7))
        wait_until("one waits", lambda: served.ask(served.server.report).storages[0].lock.waiting)
        (lock,) = [each.lock for each in served.ask(served.server.report).storages]
        assert len(lock.holders) == len(lock.waiting) == 1
        shown = [each.transaction for each in served.ask(served.server.connections, 9)]
        assert {each.phase for each in shown} == {"voted", "waiting for the commit lock"}
        assert {(each.user, each.description, each.objects) for each in shown} == {
            ("anna", "many words", 1)
        }
        holder.close()
        waiter.close()


def test_verifications_by_outcome(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "Data.fs"))
    options = ServerOptions(
        invalidation_queue_size=1, invalidation_queue_bytes=0, invalidation_age=1e9
    )
    with serving({"1": storage}, options) as served:
        db = zeotwisted.DB(served.address)
        tids = []
        for number in range(4):
            with db.transaction() as connection:
                connection.root()["x"] = number
            tids.append(db.lastTransaction())
        client = RawClient(served.address)
        client.ask("register", "1", True)
        for tid in (tids[-1], tids[-2], tids[0], p64(1)):
            client.ask("getInvalidations", tid)
        stats = served.ask(served.server.report).storages[0].stats
        assert stats.verifications == dict.fromkeys(Verification, 1)
        client.close()
        db.close()


def test_refusals_and_failures_are_counted_by_reason() -> None:
    from zeotwisted.access import EVERYBODY

    access = Access({Role.READ: frozenset({EVERYBODY})}, {"none": {}})
    with serving({"1": MappingStorage(), "none": MappingStorage()}, access=access) as served:
        for storage_id, read_only, error in (
            ("1", False, ReadOnlyError),
            ("none", True, AccessDenied),
            ("nothing", True, ServerException),
        ):
            client = RawClient(served.address)
            with pytest.raises(error):
                client.ask("register", storage_id, read_only)
            client.close()
        figures = served.ask(served.server.report).figures
        assert figures.refusals[Refusal.ROLE] == 2
        assert figures.refusals[Refusal.UNKNOWN_STORAGE] == 1
        assert figures.calls["register"].failed == figures.calls["register"].seconds.count == 3


def test_versions_and_those_that_have_not_registered() -> None:
    with serving({"1": MappingStorage()}) as served:
        ours = zeotwisted.client(served.address)
        theirs = ZEO.client(served.address)
        raw = RawClient(served.address, shake_hands=False)
        raw.receive()
        report = served.ask(served.server.report)
        assert report.versions == {"M6": 1, "Z5": 1}
        assert report.unregistered == 1
        assert report.figures.accepted == 3 and not report.draining
        ours.close()
        theirs.close()
        raw.close()


def numbered(served: Served) -> dict[str, int]:
    return {each.label: each.number for each in served.ask(served.server.connections, 99)}


def test_a_client_that_does_not_answer_is_slow() -> None:
    """Nothing waits for it here: the system has taken all that it was sent."""
    with serving({"1": MappingStorage()}, ServerOptions(client_timeout=6.0)) as served:
        idle = zeotwisted.client(served.address, client_label="idle")
        stopped = RawClient(served.address)
        stopped.ask("register", "1", True)
        stopped.socket.sendall(stopped.session.oneway("set_client_label", "stopped"))
        wait_until("it is slow", lambda: served.ask(served.server.report).slow == 1)
        first, second = served.ask(served.server.connections, 2)
        assert (first.label, first.queued) == ("stopped", 0) and first.silent >= 1.5
        assert (second.label, second.silent) == ("idle", 0.0)
        assert served.ask(served.server.report).lag >= 1.5
        # It is a usual one as soon as it answers.
        stopped.ask("ping")
        wait_until("it is not slow", lambda: served.ask(served.server.report).slow == 0)
        stopped.close()
        idle.close()


def test_a_client_that_reads_nothing_is_slow_and_can_be_disconnected(tmp_path: Path) -> None:
    with serving({"1": MappingStorage()}) as served:
        db = zeotwisted.DB(served.address)
        lazy = RawClient(served.address)
        lazy.ask("register", "1", True)
        lazy.socket.sendall(lazy.session.oneway("set_client_label", "lazy"))
        with db.transaction() as connection:
            connection.root()["x"] = b"x" * 2**22
        oid = p64(0)
        for number in range(3, 30):
            lazy.socket.sendall(lazy.session.load(number, oid, b"\x7f" + b"\xff" * 7))
        wait_until("it is slow", lambda: served.ask(served.server.report).slow == 1)
        first = served.ask(served.server.connections, 1)[0]
        assert first.label == "lazy" and first.queued > 2**20
        assert served.ask(served.server.report).lag > 0
        assert served.ask(served.server.disconnect, 0, "no such number") is None
        gone = served.ask(served.server.disconnect, numbered(served)["lazy"], "an operator")
        assert gone.label == "lazy"
        wait_until("it is gone", lambda: "lazy" not in numbered(served))
        assert served.ask(served.server.report).slow == 0
        assert served.ask(served.server.report).figures.dropped == 1
        lazy.close()
        db.close()


def test_a_pack_tells_how_far_it_is(tmp_path: Path) -> None:
    storage = FileStorage(str(tmp_path / "Data.fs"))
    with serving({"1": storage}) as served:
        db = zeotwisted.DB(served.address)
        for number in range(20):
            with db.transaction() as connection:
                connection.root()["x"] = number
        packs = served.server.served["1"].packs
        seen: list[Any] = []

        class Watching(type(packs)):  # type: ignore[misc]
            """Reports at each record that is copied."""

            copied = property(
                lambda self: self.__dict__["copied"],
                lambda self, value: (
                    self.__dict__.update(copied=value),
                    seen.append(self.report()),
                ),
            )

        packs.__class__ = Watching
        db.pack()
        done = [each.done for each in seen if each.done]
        assert done and done == sorted(done) and 0 < done[0] < done[-1] <= 1
        assert all(abs(each.since - time.time()) < 60 for each in seen if each.done)
        assert all(0 <= each.left < 60 for each in seen if each.done)
        assert served.ask(packs.report) == (0, None, None, None, None)
        db.close()
