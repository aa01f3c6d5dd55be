"""The ordering rules hold for records that the daemon has in its cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from zeotwisted.storageserver.storage.loads import Loads, RecordsInThreads

from .puppets import LATEST, OID_A, OID_B, PuppetClient, Reactor, Server


@pytest.fixture(params=["at once", "in threads"])
def server(request: pytest.FixtureRequest) -> Server:
    server = Server()
    if request.param == "in threads":
        make_slow(server)
    return server


def make_slow(server: Server) -> None:
    server.served.records.loads = Loads(RecordsInThreads(server.storage, server.slow.run))


def commit(client: PuppetClient, id: int, *oids: bytes, serial: bytes = bytes(8)) -> bytes:
    tid: bytes = client.commit(id, *oids, serial=serial)
    return tid


def test_a_cached_record_needs_no_storage(server: Server) -> None:
    writer, reader = server.client(), server.client()
    tid = commit(writer, 1, OID_A, OID_B)
    cache = server.served.records.cache
    record_a = record_b = (b"data of 1", tid, None)
    assert writer.ask("loadBefore", OID_A, LATEST) == record_a
    assert writer.ask("loadManyBefore", (OID_A, OID_B), LATEST) == (record_a, record_b)
    server.slow.immediate = False
    assert reader.ask("loadBefore", OID_A, LATEST) == record_a
    assert reader.ask("loadManyBefore", (OID_B, OID_A), LATEST) == (record_b, record_a)
    assert len(cache) == 2 and cache.hits == 4


def test_a_changed_record_is_not_sent_again(server: Server) -> None:
    writer, reader = server.client(), server.client()
    first = commit(writer, 1, OID_A, OID_B)
    for oid in (OID_A, OID_B):
        reader.ask("loadBefore", oid, LATEST)
    second = commit(writer, 2, OID_A, serial=first)
    new, old = (b"data of 2", second, None), (b"data of 1", first, None)
    assert reader.ask("loadManyBefore", (OID_A, OID_B), LATEST) == (new, old)
    assert reader.ask("loadBefore", OID_A, LATEST) == new
    # A transaction that began before the change.
    assert reader.ask("loadBefore", OID_A, second) == (b"data of 1", first, second)
    assert reader.ask("loadManyBefore", (OID_A,), second) == ((b"data of 1", first, second),)


def test_an_older_revision_is_not_taken_for_the_current_one(server: Server) -> None:
    writer, reader = server.client(), server.client()
    first = commit(writer, 1, OID_A)
    second = commit(writer, 2, OID_A, serial=first)
    old = (b"data of 1", first, second)
    assert reader.ask("loadBefore", OID_A, second) == old
    assert reader.ask("loadManyBefore", (OID_A,), second) == (old,)
    assert reader.ask("loadBefore", OID_A, LATEST) == (b"data of 2", second, None)
    assert reader.ask("loadManyBefore", (OID_A,), LATEST) == ((b"data of 2", second, None),)


def test_the_news_follow_a_cached_record(server: Server) -> None:
    """The storage has the transaction already, and nobody has been told of it."""
    writer, reader = server.client(), server.client()
    first = commit(writer, 1, OID_A)
    old = (b"data of 1", first, None)
    assert reader.ask("loadBefore", OID_A, LATEST) == old
    reader.received()
    server.reactor.immediate = False
    writer.begin(2, OID_A, serial=first)
    writer.send("vote", 2)
    server.reactor.turn()
    writer.send("tpc_finish", 2)
    second = server.storage.lastTransaction()
    assert second > first
    load = reader.send("loadBefore", OID_A, LATEST)
    assert reader.received() == [("reply", load, old)]
    server.reactor.turn()
    (news,) = reader.received()
    assert news[:2] == ("invalidateTransaction", second) and tuple(news[2]) == (OID_A,)
    server.reactor.immediate = True
    assert reader.ask("loadBefore", OID_A, LATEST) == (b"data of 2", second, None)


def test_cached_records_are_not_older_than_the_news_before_their_answer() -> None:
    """One of the records has to be loaded, and another one changes meanwhile."""
    server = Server()
    make_slow(server)
    writer, reader = server.client(), server.client()
    first = commit(writer, 1, OID_A, OID_B)
    reader.ask("loadBefore", OID_A, LATEST)
    reader.received()
    server.slow.immediate = False
    load = reader.send("loadManyBefore", (OID_B, OID_A), LATEST)
    assert reader.received() == []
    second = commit(writer, 2, OID_A, serial=first)
    assert [event[:2] for event in reader.received()] == [("invalidateTransaction", second)]
    server.slow.work()
    # The client asks for the others again.
    assert reader.received() == [("reply", load, ((b"data of 1", first, None),))]


def test_if_nothing_is_left_of_what_was_cached_it_is_loaded() -> None:
    server = Server()
    make_slow(server)
    writer, reader = server.client(), server.client()
    first = commit(writer, 1, OID_A, OID_B)
    reader.ask("loadBefore", OID_A, LATEST)
    reader.received()
    server.slow.immediate = False
    load = reader.send("loadManyBefore", (OID_A, OID_B), LATEST)
    second = commit(writer, 2, OID_A, serial=first)
    reader.received()
    server.slow.work()
    assert reader.received() == []
    server.slow.work()
    new, old = (b"data of 2", second, None), (b"data of 1", first, None)
    assert reader.received() == [("reply", load, (new, old))]


def test_a_record_that_several_ask_for_is_loaded_once() -> None:
    server = Server()
    make_slow(server)
    writer, *readers = (server.client() for _ in range(4))
    first = commit(writer, 1, OID_A)
    server.slow.immediate = False
    loads = [reader.send("loadBefore", OID_A, LATEST) for reader in readers]
    assert len(server.slow) == 1
    server.slow.work()
    for reader, load in zip(readers, loads, strict=True):
        assert reader.received()[-1] == ("reply", load, (b"data of 1", first, None))
    assert len(server.slow) == 0


@pytest.mark.parametrize("ends", ["older", "missing", "left"])
def test_each_one_loads_what_the_first_one_did_not_find(ends: str) -> None:
    server = Server()
    make_slow(server)
    writer, one, other = (server.client() for _ in range(3))
    first = commit(writer, 1, OID_A)
    second = commit(writer, 2, OID_A, serial=first)
    server.slow.immediate = False
    for reader in (one, other):
        reader.received()
    if ends == "left":
        for _ in range(8):
            writer.send("loadBefore", OID_B, LATEST)
    oid = OID_B if ends == "missing" else OID_A
    one.send("loadBefore", oid, second if ends == "older" else LATEST)
    load = other.send("loadBefore", oid, LATEST)
    if ends == "left":
        one.lose()
    while server.slow:
        server.slow.work()
    (answer,) = other.received()
    if ends == "missing":
        assert answer[:2] == ("error", load)
    else:
        assert answer == ("reply", load, (b"data of 2", second, None))


def test_a_client_that_has_left_gets_no_answer() -> None:
    server = Server()
    make_slow(server)
    reader = server.client()
    server.slow.immediate = False
    reader.send("loadManyBefore", (OID_A, OID_B), LATEST)
    reader.lose()
    server.slow.work()
    assert len(server.slow) == 0


def test_after_a_pack_and_when_track_is_lost_nothing_is_left(server: Server) -> None:
    cache = server.served.records.cache
    client = server.client()
    tid = commit(client, 1, OID_A)
    client.ask("loadBefore", OID_A, LATEST)
    assert len(cache) == 1
    server.served.lost_track()
    assert len(cache) == 0
    client = server.client()
    assert client.ask("loadBefore", OID_A, LATEST) == (b"data of 1", tid, None)
    assert len(cache) == 1
    # The data are no pickles, whose references it could read.
    server.storage.pack = lambda time, referencesf: None
    client.ask("pack", 0.0)
    assert len(cache) == 0


class Held:
    """Loads that end when the test says so."""

    def __init__(self) -> None:
        self.answers: list[Deferred[Any]] = []

    def load_before(self, oid: bytes, tid: bytes) -> Deferred[Any]:
        self.answers.append(Deferred())
        return self.answers[-1]

    def load_many_before(self, oids: Sequence[bytes], tid: bytes) -> Deferred[Any]:
        return self.load_before(oids[0], tid)

    def close(self) -> None: ...


@pytest.mark.parametrize("event", ["lost_track", "suspend"])
@pytest.mark.parametrize("many", [False, True])
def test_what_was_loaded_before_track_was_lost_is_not_kept(event: str, many: bool) -> None:
    """It may have changed meanwhile, and nobody would be told of that."""
    server = Server()
    records = server.served.records
    held = Held()
    records.loads = Loads(held)
    if many:
        load = Deferred.fromCoroutine(records.load_many_before(object(), [OID_A], LATEST))
    else:
        load = Deferred.fromCoroutine(records.load_before(object(), OID_A, LATEST))
    getattr(server.served, event)(*["the database is away"] * (event == "suspend"))
    old, new = ((b"data", bytes(7) + serial, None) for serial in (b"1", b"2"))
    held.answers[0].callback([old] if many else old)
    assert not load.called and len(records.cache) == 0
    held.answers[1].callback([new] if many else new)
    assert load.result == ([new] if many else new)
    assert records.cache.load_before(OID_A, LATEST) == new


def test_what_the_storage_has_before_it_is_told_stays_when_it_is_told() -> None:
    server = Server()
    writer, reader = server.client(), server.client()
    first = commit(writer, 1, OID_A)
    # The reactor learns of the commit later.
    server.reactor = Reactor()
    server.reactor.immediate = False
    server.commits._call_from_thread = server.reactor.call_from_thread
    writer.begin(2, OID_A, serial=first)
    writer.send("vote", 2)
    server.reactor.turn()
    writer.send("tpc_finish", 2)
    second = server.storage.lastTransaction()
    new = (b"data of 2", second, None)
    assert reader.ask("loadBefore", OID_A, LATEST) == new
    server.reactor.turn()
    assert server.served.last_transaction == second
    assert server.served.records.cache.load_before(OID_A, LATEST) == new
