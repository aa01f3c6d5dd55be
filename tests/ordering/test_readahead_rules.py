"""Records that are read ahead: which they are, and that the ordering rules hold for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
from ZODB.POSException import POSKeyError
from ZODB.utils import p64
from zodbpickle import binary
from zodbpickle.pickle import Pickler

from tests.clientstorage.support import SOON, wait_until
from zeotwisted.exceptions import ClientDisconnected, UnrecognizedResult
from zeotwisted.protocol.session import ServerHandshake

from .puppets import LATEST, T0, T1, T2, Client, PuppetServer

PARENT = p64(1000)
OIDS = [p64(number) for number in range(1, 100)]


class Reference:
    def __init__(self, oid: bytes) -> None:
        self.oid = oid


def record(oids: list[bytes], filler: Any = None) -> bytes:
    """Return a record with references."""
    output = BytesIO()
    pickler = Pickler(output, 3)
    pickler.persistent_id = lambda value: (
        (binary(value.oid), None) if type(value) is Reference else None
    )
    pickler.dump(("module", "class"))
    pickler.dump(([Reference(oid) for oid in oids], filler))
    return output.getvalue()


class Reader:
    """One thread that loads what a test says from a server that answers as it says."""

    def __init__(self, handshake: ServerHandshake | None = None, **options: Any) -> None:
        self.client = Client(**{"read_ahead": True} | options)
        self.server = PuppetServer(self.client, handshake).establish(T0)
        self._thread = ThreadPoolExecutor(1)

    def begin(self, oid: bytes, tid: bytes = LATEST) -> Future[Any]:
        return self._thread.submit(self.client.storage.loadBefore, oid, tid)

    def asked(self, name: str) -> Any:
        """Return the next call, once it is there; it must be `name`."""
        wait_until("it asks", self.server.calls)
        return self.server.next(name)

    def load(self, oid: bytes, data: bytes = b"data") -> None:
        """Load one record, and see that it is asked for alone."""
        result = self.begin(oid)
        call = self.asked("loadBefore")
        assert call.args == (oid, LATEST)
        self.server.deliver(self.server.answer(call, (data, T0, None)))
        assert result.result(SOON) == (data, T0, None)

    def load_many(self, *oids: bytes) -> None:
        """Load the first of these, and see that the others are read ahead."""
        result = self.begin(oids[0])
        call = self.asked("loadManyBefore")
        assert call.args == (oids, LATEST)
        answer = tuple((b"data", T0, None) for _ in oids)
        self.server.deliver(self.server.answer(call, answer))
        assert result.result(SOON) == (b"data", T0, None)

    def follow_two(self) -> tuple[Future[Any], Any]:
        """Follow two references in order; return the second load and the call for it."""
        self.load(PARENT, record(OIDS))
        self.load(OIDS[0])
        return self.begin(OIDS[1]), self.asked("loadManyBefore")

    def end(self) -> None:
        self.client.storage.close()
        self._thread.shutdown()


@pytest.fixture
def make() -> Iterator[Callable[..., Reader]]:
    readers: list[Reader] = []

    def make(*args: Any, **options: Any) -> Reader:
        readers.append(Reader(*args, **options))
        return readers[-1]

    yield make
    for reader in readers:
        reader.end()


@pytest.fixture
def reader(make: Callable[..., Reader]) -> Reader:
    return make()


# Which records.


def test_more_and_more_is_read_ahead(reader: Reader) -> None:
    reader.load(PARENT, record(OIDS))
    reader.load(OIDS[0])
    reader.load_many(*OIDS[1:10])
    for oid in OIDS[:10]:
        assert reader.begin(oid).result(SOON) == (b"data", T0, None)
    reader.load_many(*OIDS[10:43])
    reader.load_many(*OIDS[43:])


@pytest.mark.parametrize("skipped", [0, 1, 2])
def test_some_may_be_left_out(reader: Reader, skipped: int) -> None:
    reader.load(PARENT, record(OIDS))
    reader.load(OIDS[5])
    reader.load_many(*OIDS[6 + skipped :][:9])
    reader.load_many(*OIDS[15 + 2 * skipped :][:33])


@pytest.mark.parametrize("places", [(5, 9, 13), (5, 4, 3), (5, 50, 4, 49), (0, 98)])
def test_nothing_is_read_ahead_at_random_places(reader: Reader, places: tuple[int, ...]) -> None:
    reader.load(PARENT, record(OIDS))
    for place in places:
        reader.load(OIDS[place])


def test_a_jump_begins_anew(reader: Reader) -> None:
    reader.load(PARENT, record(OIDS))
    reader.load(OIDS[0])
    reader.load_many(*OIDS[1:10])
    reader.load(OIDS[20])
    reader.load_many(*OIDS[21:30])


def test_records_that_were_read_ahead_are_followed(reader: Reader) -> None:
    inner = [p64(number) for number in range(200, 230)]
    result, call = reader.follow_two()
    answer = [(b"data", T0, None)] * 9
    answer[3] = (record(inner), T0, None)
    reader.server.deliver(reader.server.answer(call, tuple(answer)))
    assert result.result(SOON)
    reader.load(inner[0])
    reader.load_many(*inner[1:10])
    # And the one around it is not forgotten.
    reader.load_many(*OIDS[10:43])


def test_what_is_cached_is_not_read_again(reader: Reader) -> None:
    for oid in OIDS[2:5]:
        reader.load(oid)
    reader.load(PARENT, record(OIDS[:6]))
    reader.load(OIDS[0])
    reader.load_many(OIDS[1], OIDS[5])


def test_nothing_is_left_to_be_read_ahead(reader: Reader) -> None:
    reader.load(PARENT, record(OIDS[:4] + OIDS[:1]))
    reader.load(OIDS[2])
    reader.load(OIDS[3])


def test_texts_are_not_taken_for_references(reader: Reader) -> None:
    letters = [chr(ord("a") + number) * 8 for number in range(20)]
    reader.load(PARENT, record(OIDS[:5], letters))
    reader.load(OIDS[0])
    reader.load_many(*OIDS[1:5])


def test_records_of_python_2(reader: Reader) -> None:
    reader.load(PARENT, record(OIDS).replace(b"C\x08", b"U\x08"))
    reader.load(OIDS[0])
    reader.load_many(*OIDS[1:10])


@pytest.mark.parametrize(
    "data",
    [
        record(OIDS, "x" * 20_000),
        record(OIDS[:3]),
        b"".join(OIDS),
        b"C\x08\0",
        b"",
    ],
    ids=["long", "few references", "no references", "cut off", "empty"],
)
def test_records_that_are_left_alone(reader: Reader, data: bytes) -> None:
    reader.load(PARENT, data)
    for oid in OIDS[:4]:
        reader.load(oid)


def test_a_cache_that_keeps_nothing(make: Callable[..., Reader]) -> None:
    reader = make(cache_size=1)
    reader.load(PARENT, record(OIDS))
    reader.load(OIDS[0])
    reader.load_many(*OIDS[1:10])
    for oid in OIDS[2:20]:
        reader.load(oid)


def test_each_thread_by_itself(reader: Reader) -> None:
    reader.load(PARENT, record(OIDS))
    reader.load(OIDS[0])
    with ThreadPoolExecutor(1) as other:
        result = other.submit(reader.client.storage.loadBefore, OIDS[1], LATEST)
        call = reader.asked("loadBefore")
        reader.server.deliver(reader.server.answer(call, (b"data", T0, None)))
        assert result.result(SOON) == (b"data", T0, None)


@pytest.mark.parametrize(
    ("handshake", "options"),
    [(ServerHandshake(extended=False), {}), (None, {"read_ahead": False})],
    ids=["version 5", "switched off"],
)
def test_off(make: Callable[..., Reader], handshake: Any, options: dict[str, Any]) -> None:
    reader = make(handshake, **options)
    reader.load(PARENT, record(OIDS))
    for oid in OIDS[:4]:
        reader.load(oid)


# The order of answers and news.


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_news_behind_the_answer_hit_all_its_records(reader: Reader, step: int) -> None:
    result, call = reader.follow_two()
    stream = reader.server.answer(call, ((b"data", T0, None),) * 9)
    stream += reader.server.says("invalidateTransaction", T1, [OIDS[1], OIDS[5]])
    for start in range(0, len(stream), step):
        reader.server.deliver(stream[start : start + step])
    client = reader.client
    assert client.cached(OIDS[4]) == (b"data", T0, None)
    for oid in (OIDS[1], OIDS[5]):
        assert client.cached(oid) is None
        assert client.cached(oid, T1) == (b"data", T0, T1)
    assert result.result(SOON) == (b"data", T0, None)
    # What is wanted now is what is current now.
    result = reader.begin(OIDS[5])
    call = reader.asked("loadBefore")
    reader.server.deliver(reader.server.answer(call, (b"new", T1, None)))
    assert result.result(SOON) == (b"new", T1, None)


def test_news_before_the_answer_leave_the_new_records(reader: Reader) -> None:
    result, call = reader.follow_two()
    answer = [(b"data", T0, None)] * 9
    answer[3] = (b"new", T1, None)
    answer[4] = (b"old", T0, T1)
    reader.server.deliver(
        reader.server.says("invalidateTransaction", T1, [OIDS[4], OIDS[5]]),
        reader.server.answer(call, tuple(answer)),
    )
    assert result.result(SOON)
    assert reader.client.cached(OIDS[4]) == (b"new", T1, None)
    assert reader.client.cached(OIDS[5]) is None
    assert reader.client.cached(OIDS[5], T1) == (b"old", T0, T1)


def test_the_tid_is_that_of_the_load(reader: Reader) -> None:
    reader.load(PARENT, record(OIDS))
    reader.load(OIDS[0])
    result = reader.begin(OIDS[1], T1)
    call = reader.asked("loadManyBefore")
    assert call.args == (tuple(OIDS[1:10]), T1)
    reader.server.deliver(reader.server.answer(call, ((b"old", T0, T2),) * 9))
    assert result.result(SOON) == (b"old", T0, T2)
    assert reader.client.cached(OIDS[5]) is None
    assert reader.client.cached(OIDS[5], T1) == (b"old", T0, T2)


# What may come instead of records.


def test_a_short_answer(reader: Reader) -> None:
    result, call = reader.follow_two()
    reader.server.deliver(reader.server.answer(call, ((b"data", T0, None), None, False)))
    assert result.result(SOON) == (b"data", T0, None)
    assert reader.server.calls() == []
    reader.load(OIDS[2])


@pytest.mark.parametrize("instead", [None, False])
def test_the_server_says_why_there_is_no_record(reader: Reader, instead: Any) -> None:
    result, call = reader.follow_two()
    reader.server.deliver(reader.server.answer(call, (instead, (b"data", T0, None))))
    call = reader.asked("loadBefore")
    assert call.args == (OIDS[1], LATEST)
    reader.server.deliver(reader.server.refusal(call, POSKeyError(OIDS[1])))
    with pytest.raises(POSKeyError):
        result.result(SOON)
    assert reader.client.cached(OIDS[2]) == (b"data", T0, None)


@pytest.mark.parametrize(
    "answer",
    [None, (), b"ab", ((b"a", T0, None),) * 10, (True,), ((b"a", T0),), ("a",)],
    ids=repr,
)
def test_nonsense_is_not_believed(reader: Reader, answer: Any) -> None:
    result, call = reader.follow_two()
    reader.server.deliver(reader.server.answer(call, answer))
    with pytest.raises(UnrecognizedResult):
        result.result(SOON)
    assert reader.client.cached(OIDS[2]) is None


def test_the_server_fails(reader: Reader) -> None:
    result, call = reader.follow_two()
    reader.server.deliver(reader.server.refusal(call, OSError("disk")))
    with pytest.raises(Exception, match="disk"):
        result.result(SOON)


def test_the_connection_is_lost_meanwhile(reader: Reader) -> None:
    result, _ = reader.follow_two()
    reader.server.lose()
    with pytest.raises(ClientDisconnected):
        result.result(SOON)


def test_it_is_closed_meanwhile(reader: Reader) -> None:
    result, _ = reader.follow_two()
    reader.client.storage.close()
    with pytest.raises(ClientDisconnected):
        result.result(SOON)
