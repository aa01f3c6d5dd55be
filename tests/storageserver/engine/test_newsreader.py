"""What happens in a shared storage is told in order, completely, and after failures."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue
from threading import Event
from time import sleep
from typing import Any

import pytest

from zeotwisted.storageserver.engine import OwnCommit, newsreader
from zeotwisted.storageserver.engine.newsreader import Batch, LostTrack, NewsReader

TIMEOUT = 20


class Told:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: Queue[tuple[Any, ...]] = Queue()

    def committed(self, tid: bytes, oids: Any, own: OwnCommit | None) -> None:
        origin = None if own is None else own.origin
        self.events.put(("committed", tid, sorted(oids), own, origin))

    def lost_track(self) -> None:
        self.events.put(("lost track",))

    def cut_off(self, reason: str) -> None:
        self.events.put(("cut off", reason))

    def restored(self) -> None:
        self.events.put(("restored",))

    def next(self) -> tuple[Any, ...]:
        return self.events.get(timeout=TIMEOUT)


class Database:
    """See `newsreader.Source`. It reads what a test puts into it, and waits for that."""

    patience = 0.05

    def __init__(self) -> None:
        self.news: Queue[Any] = Queue()
        self.recoveries: Queue[Any] = Queue()
        self.closed = Event()
        self.interrupts = 0

    def wait(self) -> None:
        self._next = self.news.get(timeout=TIMEOUT)

    def wake(self) -> None:
        self.news.put([])

    def read(self, is_asked: bool) -> list[Batch]:
        if isinstance(self._next, Exception):
            raise self._next
        batches: list[Batch] = self._next
        return batches

    def recover(self) -> None:
        self._next = self.recoveries.get(timeout=TIMEOUT)
        if isinstance(self._next, LostTrack):
            raise self._next

    def interrupt(self) -> None:
        self.interrupts += 1

    def close(self) -> None:
        self.closed.set()


class Time:
    """Time that passes when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(newsreader, "monotonic", time)
    monkeypatch.setattr(newsreader, "_AFTER_FAILURE", 0)
    return time


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def reader(database: Database, told: Told, time: Time) -> Iterator[NewsReader]:
    reader = NewsReader("1", database, told)
    reader.start()
    yield reader
    database.recoveries.put([])
    reader.stop()
    assert database.closed.is_set()
    assert told.events.empty()


def commit(*oids: bytes) -> OwnCommit:
    return OwnCommit("client", oids, None)


def test_transactions_of_others_and_of_ones_own_in_order(
    reader: NewsReader, database: Database, told: Told
) -> None:
    own = commit(b"b")
    database.news.put(
        [Batch(b"1", [b"a"], {}), Batch(b"2", [b"b"], {b"2": own}), Batch(b"3", [b"c"], {})]
    )
    assert told.next() == ("committed", b"1", [b"a"], None, None)
    assert told.next() == ("committed", b"2", [b"b"], own, "client")
    assert told.next() == ("committed", b"3", [b"c"], None, None)


def test_a_batch_is_told_with_all_of_its_objects_to_all(
    reader: NewsReader, database: Database, told: Told
) -> None:
    """What others have changed, the committers have to hear before their answers."""
    first, second = commit(b"a"), commit(b"b")
    database.news.put([Batch(b"4", [b"a", b"b", b"c"], {b"3": second, b"2": first})])
    everything = [b"a", b"b", b"c"]
    assert told.next() == ("committed", b"2", everything, first, None)
    assert told.next() == ("committed", b"3", everything, second, None)
    assert told.next() == ("committed", b"4", everything, None, None)


def test_a_batch_of_ones_own_with_an_object_of_others(
    reader: NewsReader, database: Database, told: Told
) -> None:
    own = commit(b"a")
    database.news.put([Batch(b"2", [b"a", b"b"], {b"2": own})])
    assert told.next() == ("committed", b"2", [b"a", b"b"], own, None)


def test_who_waits_is_called_after_the_news(
    reader: NewsReader, database: Database, told: Told
) -> None:
    database.wake = lambda: database.news.put([Batch(b"1", [b"a"], {})])  # type: ignore[method-assign]
    reader.refresh(lambda: told.events.put(("done",)))
    assert told.next() == ("committed", b"1", [b"a"], None, None)
    assert told.next() == ("done",)
    database.wake = lambda: database.news.put([])  # type: ignore[method-assign]


def test_who_waits_goes_on_waiting_while_the_database_fails(
    reader: NewsReader, database: Database, told: Told
) -> None:
    database.wake = lambda: database.news.put(OSError("down"))  # type: ignore[method-assign]
    reader.refresh(lambda: told.events.put(("done",)))
    database.wake = lambda: database.news.put([])  # type: ignore[method-assign]
    database.recoveries.put(OSError("still down"))
    database.recoveries.put([Batch(b"1", [b"a"], {})])
    assert told.next() == ("committed", b"1", [b"a"], None, None)
    assert told.next() == ("done",)


def test_lost_track(reader: NewsReader, database: Database, told: Told) -> None:
    first, second = commit(b"a"), commit(b"b")
    database.news.put(LostTrack("too much", {b"2": second, b"1": first}))
    assert told.next() == ("lost track",)
    assert told.next() == ("committed", b"1", [b"a"], first, "client")
    assert told.next() == ("committed", b"2", [b"b"], second, "client")


def test_lost_track_in_a_recovery_ends_the_failure(
    reader: NewsReader, database: Database, told: Told
) -> None:
    database.news.put(OSError("down"))
    database.recoveries.put(LostTrack("another database", {}))
    database.news.put([Batch(b"1", [b"a"], {})])
    assert told.next() == ("lost track",)
    assert told.next() == ("committed", b"1", [b"a"], None, None)


def test_short_failure_is_not_told(
    reader: NewsReader, database: Database, told: Told, time: Time
) -> None:
    database.news.put(OSError("down"))
    time.now = 0.04
    database.recoveries.put(OSError("down"))
    database.recoveries.put([])
    database.news.put([Batch(b"1", [b"a"], {})])
    assert told.next() == ("committed", b"1", [b"a"], None, None)


def test_cut_off_after_its_patience_until_the_database_is_back(
    reader: NewsReader, database: Database, told: Told, time: Time
) -> None:
    database.news.put(OSError("gone\nfor good"))
    database.recoveries.put(OSError("gone\nfor good"))
    # When the second one is read, the first one was noticed.
    while not database.recoveries.empty():
        sleep(0.001)
    time.now = 0.06
    database.recoveries.put(OSError("gone\nfor good"))
    kind, reason = told.next()
    assert kind == "cut off"
    assert reason.startswith("the database cannot be read: gone")
    assert "\n" not in reason
    # It is told once, and who waits for the database is freed again and again.
    while database.interrupts < 2:
        sleep(0.001)
    database.recoveries.put(OSError("gone"))
    database.recoveries.put([Batch(b"1", [b"a"], {})])
    assert told.next() == ("committed", b"1", [b"a"], None, None)
    assert told.next() == ("restored",)
