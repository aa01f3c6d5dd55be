"""Warm starts: the ordering rules hold for what is brought in, and the application goes first."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest
from ZODB.utils import p64

from zeotwisted.clientstorage.cache import ClientCache
from zeotwisted.clientstorage.warmstart import pace
from zeotwisted.protocol.capabilities import LOAD_AHEAD, WARM_START
from zeotwisted.protocol.session import ServerHandshake
from zeotwisted.storageserver.popularity import popularity
from zeotwisted.storageserver.storage.loads import Loads, RecordsInThreads

from .puppets import LATEST, T0, T1, T2, Client, PuppetServer, Server

A, B, C, D = map(p64, range(1, 5))


# The daemon.


@pytest.fixture(params=["at once", "in threads"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(popularity, "FEW", 1)
    # Orders are made anew each time.
    monkeypatch.setattr(popularity, "_LASTING", 0)
    server = Server()
    if request.param == "in threads":
        server.served.records.loads = Loads(RecordsInThreads(server.storage, server.slow.run))
    return server


def test_what_one_loads_is_told_to_another(server: Server) -> None:
    writer, first, second = server.client(), server.client(), server.client()
    writer.commit(1, A, B, C, D)
    for oid in (B, C):
        first.ask("loadBefore", oid, LATEST)
    first.ask("loadManyBefore", (D,), LATEST)
    first.ask("loadAhead", A, LATEST, 0, 0, 1000, b"", 1)
    joined = second.ask("popular_oids", 0)
    assert sorted(joined[start : start + 8] for start in range(0, 32, 8)) == [A, B, C, D]
    assert second.ask("popular_oids", 4) == b""


def test_what_came_ahead_and_was_used_counts(server: Server) -> None:
    first, second = server.client(), server.client()
    server.client().commit(1, A)
    first.ask("loadAhead", A, LATEST, 0, 0, 1000, B + C, 1)
    assert len(second.ask("popular_oids", 0)) == 24
    first.tell("used_oids", D)
    assert len(server.client().ask("popular_oids", 0)) == 32


def test_records_that_are_brought_in(server: Server) -> None:
    tid = server.client().commit(1, A, B)
    answer = server.client().ask("load_popular", (A, C, B), LATEST)
    assert answer == ((b"data of 1", tid, None), False, (b"data of 1", tid, None))
    # They do not count as used.
    assert server.client().ask("popular_oids", 0) == b""


def test_what_was_brought_in_does_not_come_ahead_again(server: Server) -> None:
    from .test_ahead_rules import MUCH, ahead, commit, record, warm

    commit(server.client(), 1, PARENT=record([B, C]), A=b"a", B=b"b")
    parent, child, other = (p64(number) for number in (1, 2, 3))
    warm(server, child, other)
    client = server.client()
    client.ask("load_popular", (child,), LATEST)
    assert [oid for oid, _, _ in ahead(client, parent, *MUCH)] == [other]


def test_news_follow_what_was_brought_in(server: Server) -> None:
    """The storage has the transaction already, and nobody has been told of it."""
    writer, reader = server.client(), server.client()
    first = writer.commit(1, A)
    server.client().ask("loadBefore", A, LATEST)
    reader.received()
    server.reactor.immediate = False
    writer.begin(2, A, serial=first)
    writer.send("vote", 2)
    server.reactor.turn()
    writer.send("tpc_finish", 2)
    second = server.storage.lastTransaction()
    assert second > first
    load = reader.send("load_popular", (A,), LATEST)
    server.reactor.turn()
    events = reader.received()
    names = [event[0] for event in events]
    assert sorted(names) == ["invalidateTransaction", "reply"]
    (reply,) = [event for event in events if event[0] == "reply"]
    assert reply[1] == load
    ((_, start, end),) = reply[2]
    if names[0] == "reply":
        assert (start, end) == (first, None)
    else:
        assert (start, end) == (second, None)


def test_a_client_that_has_left_is_forgotten(server: Server) -> None:
    client = server.client()
    server.client().commit(1, A)
    client.ask("loadBefore", A, LATEST)
    assert len(server.served.popularity) == 1
    client.lose()
    assert len(server.served.popularity) == 0
    # What it has used is known.
    assert server.client().ask("popular_oids", 0) == A


def test_a_client_that_leaves_during_its_load_stays_forgotten(server: Server) -> None:
    if server.served.records.loads is None:
        pytest.skip("the answer is there at once")
    server.client().commit(1, A)
    client = server.client()
    server.slow.immediate = False
    client.send("load_popular", (A,), LATEST)
    client.send("loadManyBefore", (A,), LATEST)
    client.lose()
    server.slow.work()
    assert len(server.served.popularity) == 0
    assert len(server.served.speculation) == 0


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("popular_oids", (-1,)),
        ("popular_oids", (2**31,)),
        ("popular_oids", (True,)),
        ("popular_oids", ()),
        ("load_popular", ((), LATEST)),
        ("load_popular", ((A,) * 1001, LATEST)),
        ("load_popular", ((b"x",), LATEST)),
    ],
)
def test_arguments_are_checked(server: Server, name: str, args: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=name):
        server.client().ask(name, *args)


def test_a_client_of_another_storage_learns_nothing() -> None:
    client = Server().client(register=False)
    client.send("popular_oids", 0)
    assert client.dropped


# The client.


class Warm:
    """A client with an empty cache, and a server that says what others use."""

    def __init__(
        self,
        *pages: Sequence[bytes],
        capabilities: dict[str, Any] | None = None,
        handshake: ServerHandshake | None = None,
        **options: Any,
    ) -> None:
        self.client = Client(**{"liveness_timeout": 0} | options)
        self.server = self.connect(capabilities, handshake)
        if "client_label" in options:
            self.server.next("set_client_label")
        for page in pages:
            self.tell(page)

    def connect(
        self, capabilities: dict[str, Any] | None = None, handshake: ServerHandshake | None = None
    ) -> PuppetServer:
        offered = {WARM_START: {}} if capabilities is None else capabilities
        self.server = PuppetServer(self.client, handshake, offered).establish(T0)
        return self.server

    def tell(self, oids: Sequence[bytes]) -> int:
        """Answer the question for popular oids; return from which one on they were wanted."""
        self.pass_time(1.0)
        call = self.server.next("popular_oids")
        self.server.deliver(self.server.answer(call, b"".join(oids)))
        start: int = call.args[0]
        return start

    def asked(self) -> Any:
        """Return the next call for records."""
        self.pass_time(1.0)
        return self.server.next("load_popular")

    def answer(self, call: Any, *revisions: Any, then: bytes = b"") -> None:
        self.server.deliver(self.server.answer(call, revisions) + then)

    def pass_time(self, seconds: float) -> None:
        self.client.reactor.advance(seconds)

    @property
    def is_over(self) -> bool:
        """Whether it asks for nothing more."""
        self.pass_time(1.0)
        return not self.server.calls()

    @property
    def brought(self) -> int:
        found: int = self.client.storage.statistics()["warm_records"]
        return found


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many records are asked for depends on how long answers take, here on a busy machine."""
    monkeypatch.setattr(pace, "_MOST_TIMES", 1.0)


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "zeotwisted.client")
    return caplog


def brought(log: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in log.messages if "brought" in line]


def test_it_brings_in_what_others_use(log: pytest.LogCaptureFixture) -> None:
    warm = Warm([A, B], client_label="zope", name="main")
    call = warm.asked()
    assert call.args == ((A, B), b"\x7f" + b"\xff" * 7)
    warm.answer(call, (b"a", T0, None), (b"bb", T0, None))
    assert warm.client.cached(A) == (b"a", T0, None)
    assert warm.client.cached(B) == (b"bb", T0, None)
    assert warm.tell([]) == 2
    assert warm.is_over
    (line,) = brought(log)
    assert line.startswith(
        "main: brought 2 records (3 bytes) that other clients with the label 'zope' use most, in "
    )
    assert warm.client.storage.statistics()["warm_bytes"] == 3
    assert warm.brought == 2


def test_many(log: pytest.LogCaptureFixture) -> None:
    oids = list(map(p64, range(1, 41)))
    warm = Warm(oids[:35], name="main")
    first = warm.asked()
    assert list(first.args[0]) == oids[:30]
    # The answer is cut.
    warm.answer(first, *[(b"x", T0, None)] * 25)
    second = warm.asked()
    assert list(second.args[0]) == oids[25:35]
    warm.answer(second, *[(b"x", T0, None)] * 10)
    assert warm.tell(oids[30:]) == 35
    third = warm.asked()
    assert list(third.args[0]) == oids[35:]
    warm.answer(third, *[(b"x", T0, None)] * 5)
    assert warm.tell([]) == 45
    assert brought(log)[0].startswith(
        "main: brought 40 records (40 bytes) that other clients without a label use most, in "
    )


def test_nothing_is_to_be_brought(log: pytest.LogCaptureFixture) -> None:
    warm = Warm([])
    assert warm.server.calls() == []
    assert brought(log) == []


def test_news_behind_the_answer_hit_its_records() -> None:
    warm = Warm([A, B])
    call = warm.asked()
    news = warm.server.says("invalidateTransaction", T1, [B])
    warm.answer(call, (b"a", T0, None), (b"b", T0, None), then=news)
    assert warm.client.cached(A) == (b"a", T0, None)
    assert warm.client.cached(B) is None
    assert warm.client.cached(B, T1) == (b"b", T0, T1)


def test_what_is_newer_stays() -> None:
    warm = Warm([A])
    call = warm.asked()
    warm.client.load(A)
    load = warm.server.next("loadBefore")
    warm.server.deliver(
        warm.server.says("invalidateTransaction", T1, [A]),
        warm.server.answer(load, (b"new", T1, None)),
    )
    warm.answer(call, (b"old", T0, None))
    assert warm.client.cached(A) == (b"new", T1, None)


def test_an_earlier_revision_is_not_kept() -> None:
    warm = Warm([A, B, C])
    warm.answer(warm.asked(), (b"a", T0, T1), None, False)
    assert [warm.client.cached(oid) for oid in (A, B, C)] == [None] * 3
    assert warm.brought == 0


def test_what_is_in_the_cache_is_not_asked_for() -> None:
    warm = Warm()
    call = warm.server.next("popular_oids")
    warm.client.load(A)
    load = warm.server.next("loadBefore")
    warm.server.deliver(warm.server.answer(load, (b"a", T0, None)))
    misses = warm.client.storage.cache_statistics()["misses"]
    warm.server.deliver(warm.server.answer(call, A + B))
    assert warm.asked().args[0] == (B,)
    assert warm.client.storage.cache_statistics()["misses"] == misses


def test_it_pauses_while_the_application_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    # The server is far away, and every pause is one.
    monkeypatch.setattr(pace, "_NEAR", 0.0)
    monkeypatch.setattr(pace, "_SHORTEST", 0.0)
    warm = Warm(list(map(p64, range(1, 100))))
    call = warm.server.next("load_popular")
    warm.client.load(p64(500))
    load = warm.server.next("loadBefore")
    warm.answer(call, *[(b"x", T0, None)] * len(call.args[0]))
    assert warm.server.calls() == []
    call = warm.asked()
    # It does not wait any more.
    warm.server.deliver(warm.server.answer(load, (b"x", T0, None)))
    warm.answer(call, *[(b"x", T0, None)] * len(call.args[0]))
    assert warm.server.calls() == ["load_popular"]


def test_one_question_at_a_time() -> None:
    """A load waits for one short answer at most."""
    warm = Warm(list(map(p64, range(1, 1001))))
    call = warm.asked()
    assert len(call.args[0]) == 30
    assert warm.is_over
    # Records are long: the next answer is to be about as long as this one should have been.
    warm.answer(call, *[(b"x" * 8000, T0, None)] * 30)
    warm.answer(warm.asked(), (b"x" * 8000, T0, None))
    assert len(warm.asked().args[0]) <= 3


def test_it_ends_when_the_cache_is_full(log: pytest.LogCaptureFixture) -> None:
    oids = list(map(p64, range(1, 1000)))
    warm = Warm(oids, cache_size=100_000)
    asked = 0
    while not warm.is_over:
        call = warm.asked()
        asked += len(call.args[0])
        warm.answer(call, *[(b"x" * 400, T0, None)] * len(call.args[0]))
    assert 150 < asked < 250
    statistics = warm.client.storage.cache_statistics()
    assert statistics["evictions"] == 0
    assert statistics["bytes"] > 80_000
    assert len(brought(log)) == 1


def test_longer_records_than_there_is_room_push_out_nothing() -> None:
    warm = Warm()
    call = warm.server.next("popular_oids")
    for oid in (A, B):
        warm.client.load(oid)
        load = warm.server.next("loadBefore")
        warm.server.deliver(warm.server.answer(load, (b"x" * 8_000_000, T0, None)))
    warm.server.deliver(warm.server.answer(call, C + D))
    warm.answer(warm.asked(), (b"x" * 4_000_000, T0, None), (b"x" * 4_000_000, T0, None))
    assert [warm.client.cached(oid) is None for oid in (A, B, C, D)] == [False, False, False, True]


def test_a_cache_object_of_the_application() -> None:
    class Cache:
        """It has only the methods of ZEO's caches."""

        def __init__(self) -> None:
            self._cache = ClientCache(10**6)
            for name in (
                *("loadBefore", "store", "invalidate", "clear", "getLastTid", "setLastTid"),
                "close",
            ):
                setattr(self, name, getattr(self._cache, name))

    oids = list(map(p64, range(1, 1000)))
    warm = Warm(oids, cache=Cache(), cache_size=10_000)
    asked = 0
    while not warm.is_over:
        call = warm.asked()
        asked += len(call.args[0])
        warm.answer(call, *[(b"x" * 400, T0, None)] * len(call.args[0]))
    assert 10 < asked < 70
    assert warm.client.cached(A) == (b"x" * 400, T0, None)


@pytest.mark.parametrize(
    "answer",
    [None, 5, b"", (), ("x",), ((b"a", T0, None), (b"a", T0, None)), ((b"a", T0),), (True,)],
)
def test_an_answer_that_makes_no_sense(answer: Any, log: pytest.LogCaptureFixture) -> None:
    warm = Warm([A])
    warm.server.deliver(warm.server.answer(warm.asked(), answer))
    assert any("warm start has failed" in line for line in log.messages)
    assert warm.client.storage._link.ready is not None
    assert warm.server.calls() == []


@pytest.mark.parametrize("answer", [None, 5, b"1234567", [A], b"12345678" * 1001])
def test_oids_that_make_no_sense(answer: Any, log: pytest.LogCaptureFixture) -> None:
    warm = Warm()
    warm.server.deliver(warm.server.answer(warm.server.next("popular_oids"), answer))
    assert any("warm start has failed" in line for line in log.messages)
    assert warm.server.calls() == []


def test_a_failure_at_the_server(log: pytest.LogCaptureFixture) -> None:
    warm = Warm([A])
    warm.server.deliver(warm.server.refusal(warm.asked(), ValueError("not today")))
    (line,) = [line for line in log.messages if "failed" in line]
    assert "not today" in line
    assert warm.server.calls() == []


def test_after_a_loss_the_next_connection_goes_on(log: pytest.LogCaptureFixture) -> None:
    warm = Warm([A, B, C])
    warm.asked()
    warm.server.lose()
    warm.client.reactor.advance(10)
    warm.connect()
    assert warm.tell([A]) == 0
    warm.answer(warm.asked(), (b"a", T0, None))
    warm.tell([])
    assert len(brought(log)) == 1
    # It is over now.
    warm.server.lose()
    warm.client.reactor.advance(10)
    warm.connect()
    assert warm.server.calls() == ["used_oids"]


def test_a_pause_ends_with_the_connection() -> None:
    warm = Warm([A] * 30)
    call = warm.asked()
    warm.client.load(D)
    warm.server.next("loadBefore")
    warm.answer(call, *[(b"x", T0, None)] * len(call.args[0]))
    warm.client.storage.close()
    assert warm.client.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(
    "options",
    [
        {"warm_start": False},
        {"capabilities": {}},
        {"capabilities": {LOAD_AHEAD: {}}},
        {"handshake": ServerHandshake(True, False)},
    ],
)
def test_without_the_capability_nothing_is_asked(options: dict[str, Any]) -> None:
    warm = Warm(**options)
    assert warm.server.calls() == []
    warm.pass_time(100)
    assert "used_oids" not in warm.server.calls()


def test_a_cache_that_is_not_new() -> None:
    cache = ClientCache(10**6)
    cache.setLastTid(T0)
    warm = Warm(cache=cache)
    # It says that it has one.
    assert warm.server.next("used_oids").args == (b"",)
    assert warm.is_over


def test_what_is_used_is_told() -> None:
    warm = Warm([A, B])
    warm.answer(warm.asked(), (b"a", T0, None), (b"b", T0, None))
    warm.tell([])
    warm.client.storage.loadBefore(B, T2)
    warm.pass_time(5.0)
    (name,) = warm.server.calls()
    assert (name, warm.server.next("used_oids").args) == ("used_oids", (B,))


@pytest.mark.parametrize(
    ("warm_start", "offered"),
    [(True, {WARM_START: {}}), ("web", {WARM_START: {"group": "web"}}), (False, {})],
)
def test_what_is_offered(warm_start: Any, offered: Any) -> None:
    told = Warm(warm_start=warm_start).server.offered
    assert {name: told[name] for name in told if name == WARM_START} == offered
