"""The ordering rules hold for records that are asked for together, in either version."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError, ReadConflictError

from tests.clientstorage.support import InThread, wait_until
from zeotwisted.exceptions import ClientDisconnected, ClientStorageError
from zeotwisted.protocol.session import ServerHandshake
from zeotwisted.storageserver.storage import loads
from zeotwisted.storageserver.storage.loads import Loads, RecordsInThreads, load_many_before

from .puppets import LATEST, OID_A, OID_B, T0, T1, T2, Client, PuppetServer, Reactor, Server

OID_C = b"\0" * 7 + b"\x03"


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def server(client: Client) -> PuppetServer:
    return client.accept().establish(T0)


@pytest.fixture
def stock(client: Client) -> PuppetServer:
    """A server of version 5."""
    return PuppetServer(client, ServerHandshake(extended=False)).establish(T0)


# The client.


def test_invalidation_behind_the_answer_hits_all_its_records(
    client: Client, server: PuppetServer
) -> None:
    client.storage.prefetch([OID_A, OID_B], LATEST)
    load = server.next("loadManyBefore")
    assert load.args == ((OID_A, OID_B), LATEST)
    server.deliver(
        server.answer(load, ((b"a", T0, None), (b"b", T0, None))),
        server.says("invalidateTransaction", T1, [OID_B]),
    )
    assert client.cached(OID_A) == (b"a", T0, None)
    assert client.cached(OID_B) is None
    assert client.cached(OID_B, T1) == (b"b", T0, T1)


def test_invalidation_before_the_answer_leaves_the_new_records(
    client: Client, server: PuppetServer
) -> None:
    client.storage.prefetch([OID_A, OID_B], LATEST)
    load = server.next("loadManyBefore")
    server.deliver(
        server.says("invalidateTransaction", T1, [OID_A, OID_B]),
        server.answer(load, ((b"a", T1, None), (b"b", T0, T1))),
    )
    assert client.cached(OID_A) == (b"a", T1, None)
    assert client.cached(OID_B) is None
    assert client.cached(OID_B, T1) == (b"b", T0, T1)


@pytest.mark.parametrize("step", [1, 3, 7])
def test_order_does_not_depend_on_how_the_bytes_arrive(
    client: Client, server: PuppetServer, step: int
) -> None:
    client.storage.prefetch([OID_A, OID_B], LATEST)
    stream = b"".join(
        [
            server.says("invalidateTransaction", T1, [OID_A]),
            server.answer(server.next("loadManyBefore"), ((b"a", T1, None), (b"b", T0, None))),
            server.says("invalidateTransaction", T2, [OID_B]),
        ]
    )
    for start in range(0, len(stream), step):
        server.deliver(stream[start : start + step])
    assert client.cached(OID_A) == (b"a", T1, None)
    assert client.cached(OID_B) is None
    assert client.storage.lastTransaction() == T2


def test_the_first_few_are_answered_and_the_rest_is_asked_for_again(
    client: Client, server: PuppetServer
) -> None:
    client.storage.prefetch([OID_A, OID_B, OID_C], LATEST)
    server.deliver(server.answer(server.next("loadManyBefore"), ((b"a", T0, None),)))
    rest = server.next("loadManyBefore")
    assert rest.args == ((OID_B, OID_C), LATEST)
    server.deliver(server.answer(rest, (None, False)))
    assert server.calls() == []
    assert client.cached(OID_A) and not client.cached(OID_B) and not client.cached(OID_C)


@pytest.mark.parametrize(
    "answer",
    [None, (), b"ab", ((b"a", T0, None),) * 3, (True,), ((b"a", T0),), ("a",)],
    ids=repr,
)
def test_nonsense_is_not_believed(
    client: Client, server: PuppetServer, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client.storage.prefetch([OID_A, OID_B], LATEST)
    server.deliver(server.answer(server.next("loadManyBefore"), answer))
    assert server.calls() == []
    assert client.cached(OID_A) is None
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_what_is_under_way_is_not_asked_for_twice(client: Client, server: PuppetServer) -> None:
    client.storage.prefetch([OID_A, OID_B], LATEST)
    client.storage.prefetch([OID_B, OID_C], LATEST)
    first, second = server.next("loadManyBefore"), server.next("loadManyBefore")
    assert second.args == ((OID_C,), LATEST)
    threads = [InThread(client.storage.loadBefore, OID_A, LATEST) for _ in range(3)]
    for thread in threads:
        wait_until("it waits", lambda thread=thread: "wait" in thread.stack)
    assert server.calls() == []
    server.deliver(server.answer(first, ((b"a", T0, None), (b"b", T0, None))))
    for thread in threads:
        assert thread.result() == (b"a", T0, None)
    assert server.calls() == []


def test_who_waits_asks_if_it_does_not_come(client: Client, server: PuppetServer) -> None:
    """The news behind the answer make the record useless to whoever wants the latest."""
    client.storage.prefetch([OID_A], T1)
    load = server.next("loadManyBefore")
    thread = InThread(client.storage.loadBefore, OID_A, LATEST)
    wait_until("it waits", lambda: "wait" in thread.stack)
    server.deliver(server.answer(load, ((b"old", T0, T1),)))
    call = wait_until("it asks", lambda: server.calls() and server.next("loadBefore"))
    server.deliver(server.answer(call, (b"new", T1, None)))
    assert thread.result() == (b"new", T1, None)


def test_who_waits_asks_if_it_fails(client: Client, server: PuppetServer) -> None:
    client.storage.prefetch([OID_A], T1)
    load = server.next("loadManyBefore")
    thread = InThread(client.storage.loadBefore, OID_A, LATEST)
    wait_until("it waits", lambda: "wait" in thread.stack)
    server.deliver(server.refusal(load, ReadConflictError()))
    call = wait_until("it asks", lambda: server.calls() and server.next("loadBefore"))
    server.deliver(server.refusal(call, POSKeyError(OID_A)))
    with pytest.raises(POSKeyError):
        thread.result()


def test_who_waits_hears_of_the_loss() -> None:
    client = Client(wait_timeout=0)
    server = client.accept().establish(T0)
    client.storage.prefetch([OID_A], LATEST)
    thread = InThread(client.storage.loadBefore, OID_A, LATEST)
    wait_until("it waits", lambda: "wait" in thread.stack)
    server.lose()
    with pytest.raises(ClientDisconnected):
        thread.result()


def test_the_thread_that_brings_it_does_not_wait_for_it(
    client: Client, server: PuppetServer
) -> None:
    client.storage.prefetch([OID_A], LATEST)
    protocol = client.storage._link.protocol()
    protocol._is_reactor_thread = lambda: True
    with pytest.raises(ClientStorageError, match="loadBefore"):
        client.storage.loadBefore(OID_A, LATEST)


def test_version_5_is_asked_one_by_one(client: Client, stock: PuppetServer) -> None:
    client.storage.prefetch([OID_A, OID_B], LATEST)
    first, second = stock.next("loadBefore"), stock.next("loadBefore")
    assert (first.args, second.args) == ((OID_A, LATEST), (OID_B, LATEST))
    stock.deliver(
        stock.refusal(first, POSKeyError(OID_A)),
        stock.answer(second, (b"b", T0, None)),
        stock.says("invalidateTransaction", T1, [OID_B]),
    )
    assert client.cached(OID_B) is None
    assert client.cached(OID_B, T1) == (b"b", T0, T1)


def test_version_5_who_waits_has_what_has_come(client: Client, stock: PuppetServer) -> None:
    client.storage.prefetch([OID_A, OID_B], LATEST)
    first, second = stock.next("loadBefore"), stock.next("loadBefore")
    thread = InThread(client.storage.loadBefore, OID_A, LATEST)
    wait_until("it waits", lambda: "wait" in thread.stack)
    stock.deliver(stock.answer(second, None), stock.answer(first, (b"a", T0, None)))
    assert thread.result() == (b"a", T0, None)
    assert stock.calls() == []


# The server.


def test_answer_of_many_is_sent_before_the_invalidation_of_any() -> None:
    server = Server()
    writer, reader = server.client(), server.client()
    first = writer.commit(1, OID_A, OID_B)
    reader.received()
    writer.begin(2, OID_B, serial=first)
    writer.ask("vote", 2)
    server.commits.immediate = False
    writer.send("tpc_finish", 2)
    load = reader.send("loadManyBefore", (OID_C, OID_A, OID_B), LATEST)
    server.commits.work()
    (answer, news) = reader.received()
    record = (b"data of 1", first, None)
    assert answer == ("reply", load, (False, record, record))
    assert news[0] == "invalidateTransaction" and tuple(news[2]) == (OID_B,)
    assert reader.ask("server_status")["loads"] == 3


def test_nothing_that_old() -> None:
    server = Server()
    client = server.client()
    tid = client.commit(1, OID_A)
    assert client.ask("loadManyBefore", (OID_A, OID_B), tid) == (None, False)


@pytest.mark.parametrize("oids", [(), (OID_A,) * 1001, (b"short",), None])
def test_too_many_or_none_are_refused(oids: Any) -> None:
    with pytest.raises(TypeError, match="loadManyBefore: at_most_1000_oids was expected"):
        Server().client().ask("loadManyBefore", oids, LATEST)


def test_version_5_has_no_such_call() -> None:
    client = Server(protocol_limit=5).client()
    client.send("loadManyBefore", (OID_A,), LATEST)
    assert client.dropped


@pytest.mark.parametrize("changed", [OID_A, OID_B])
def test_loads_in_a_thread_end_before_what_has_changed(changed: bytes) -> None:
    """Its answer would follow the invalidation, and bring back the old revision."""
    server = Server()
    server.served.records.loads = Loads(RecordsInThreads(server.storage, server.slow.run))
    writer, reader = server.client(), server.client()
    first = writer.commit(1, OID_A, OID_B)
    reader.received()
    server.slow.immediate = False
    server.reactor.immediate = False
    load = reader.send("loadManyBefore", (OID_A, OID_B), LATEST)
    server.slow.work()
    # The loads are done, and a commit is published before their answer gets to the reactor.
    answers, server.reactor = server.reactor, Reactor()
    server.served.publications._call_from_thread = server.reactor.call_from_thread
    server.commits._call_from_thread = server.reactor.call_from_thread
    second = writer.commit(2, changed, serial=first)
    assert [event[:2] for event in reader.received()] == [("invalidateTransaction", second)]
    answers.turn()
    if changed == OID_B:
        assert reader.received() == [("reply", load, ((b"data of 1", first, None),))]
        return
    assert reader.received() == [], "the old revision was sent"
    server.slow.work()
    answers.turn()
    new, old = (b"data of 2", second, None), (b"data of 1", first, None)
    assert reader.received() == [("reply", load, (new, old))]


def test_slow_storage_is_told_what_will_be_wanted() -> None:
    from ZODB.interfaces import IPrefetchStorage
    from zope.interface import implementer

    @implementer(IPrefetchStorage)
    class Remote(MappingStorage):
        asked: Any = None

        def prefetch(self, oids: Any, tid: bytes) -> None:
            self.asked = (tuple(oids), tid)

    server = Server(Remote())
    server.served.records.loads = Loads(RecordsInThreads(server.storage, server.slow.run))
    client = server.client()
    tid = client.commit(1, OID_A)
    assert client.ask("loadManyBefore", (OID_A, OID_B), LATEST) == (
        (b"data of 1", tid, None),
        False,
    )
    assert server.storage.asked == ((OID_A, OID_B), LATEST)


class Records:
    """Records of some lengths, which take some time to be loaded."""

    def __init__(self, *lengths: int, seconds: float = 0.0) -> None:
        self.oids = [number.to_bytes(8, "big") for number in range(len(lengths))]
        self._lengths = dict(zip(self.oids, lengths, strict=True))
        self._seconds = seconds
        self.now = 0.0
        self.fails: bytes | None = None

    def load(self, oid: bytes, tid: bytes) -> Any:
        if oid == self.fails:
            raise OSError("cannot be read")
        self.now += self._seconds
        return bytes(self._lengths[oid]), T0, None

    def answered(self) -> int:
        return len(load_many_before(self.load, self.oids, LATEST, lambda: self.now))


ENOUGH = loads.ENOUGH_BYTES


@pytest.mark.parametrize(
    ("lengths", "answered"),
    [
        ((10,) * 1000, 1000),
        ((ENOUGH // 2, ENOUGH // 2, 1), 2),
        ((1, ENOUGH, 1), 2),
        ((1, ENOUGH + 1, 1), 1),
        ((ENOUGH + 1, 1), 1),
    ],
)
def test_answer_is_not_long(lengths: tuple[int, ...], answered: int) -> None:
    assert Records(*lengths).answered() == answered


def test_answer_does_not_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loads, "_ENOUGH_TIME", 1.0)
    assert Records(*[1] * 9, seconds=0.4).answered() == 3
    assert Records(*[1] * 9, seconds=10.0).answered() == 1


def test_what_fails_is_left_to_be_the_first_of_the_next_answer() -> None:
    records = Records(1, 1, 1)
    records.fails = records.oids[2]
    assert records.answered() == 2
    records.oids = records.oids[2:]
    with pytest.raises(OSError, match="cannot be read"):
        records.answered()
