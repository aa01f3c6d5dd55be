"""Records that come although nobody has asked for them: the ordering rules hold for them, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from twisted.logger import capturedLogs
from ZODB.POSException import POSKeyError

from tests.clientstorage.support import SOON, wait_until
from zeotwisted.clientstorage.speculation import worth
from zeotwisted.exceptions import ClientDisconnected, UnrecognizedResult
from zeotwisted.protocol import pack_ahead, unpack_ahead
from zeotwisted.protocol.capabilities import LOAD_AHEAD
from zeotwisted.protocol.session import ServerHandshake
from zeotwisted.storageserver.speculation import MOST_CLIENTS, Allowance, Speculation
from zeotwisted.storageserver.storage.loads import Loads, RecordsInThreads
from zeotwisted.storageserver.storage.recordcache import RecordCache

from .puppets import LATEST, T0, T1, T2, Client, PuppetClient, PuppetServer, Server
from .test_readahead_rules import record

PARENT, A, B, C, D = (number.to_bytes(8, "big") for number in range(1, 6))

#: How much an answer may bring: records, bytes, how probable in thousandths; what was used; thread.
MUCH = (100, 2**20, 1, b"", 1)


# The daemon.


@pytest.fixture(params=["at once", "in threads"])
def server(request: pytest.FixtureRequest) -> Server:
    server = timeless_server()
    if request.param == "in threads":
        make_slow(server)
    return server


def timeless_server() -> Server:
    """Return a server in which guesses take no time, on however busy a machine."""
    server = Server()
    server.served.speculation = Speculation(server.served.records.find, Allowance(lambda: 0.0))
    return server


def make_slow(server: Server) -> None:
    server.served.records.loads = Loads(RecordsInThreads(server.storage, server.slow.run))


def begin(client: PuppetClient, id: int, serial: bytes = bytes(8), **records: bytes) -> None:
    """Begin a transaction; the names of the records are those above."""
    client.tell("tpc_begin", id, "", "", {})
    for name, data in records.items():
        client.tell("storea", globals()[name], serial, data, id)


def commit(client: PuppetClient, id: int, serial: bytes = bytes(8), **records: bytes) -> bytes:
    begin(client, id, serial, **records)
    client.ask("vote", id)
    tid: bytes = client.ask("tpc_finish", id)
    return tid


def ahead(client: PuppetClient, oid: bytes, *wish: Any, tid: bytes = LATEST) -> list[Any]:
    """Load a record; return what has come besides."""
    _, packed = client.ask("loadAhead", oid, tid, *(wish or MUCH))
    return unpacked(packed)


def unpacked(packed: bytes) -> list[Any]:
    return list(unpack_ahead(packed, 1000, 2**20))


def warm(server: Server, *oids: bytes) -> None:
    """Have records in the cache of a daemon whose storage is slow."""
    client = server.client()
    for oid in oids:
        client.ask("loadBefore", oid, LATEST)


def test_what_a_record_refers_to_comes_with_it(server: Server) -> None:
    writer, reader = server.client(), server.client()
    tid = commit(writer, 1, PARENT=record([A, B]), A=b"a", B=b"b", C=b"c")
    warm(server, A, B, C)
    answer = reader.ask("loadAhead", PARENT, LATEST, *MUCH)
    assert answer[0] == (record([A, B]), tid, None)
    assert unpacked(answer[1]) == [(A, tid, b"a"), (B, tid, b"b")]


def test_what_was_sent_is_not_sent_again_unless_it_changes(server: Server) -> None:
    writer, reader = server.client(), server.client()
    first = commit(writer, 1, PARENT=record([A, B]), A=b"a", B=b"b")
    warm(server, A, B)
    assert len(ahead(reader, PARENT)) == 2
    assert ahead(reader, PARENT) == []
    second = commit(writer, 2, first, B=b"new")
    warm(server, B)
    assert ahead(reader, PARENT) == [(B, second, b"new")]


def slow_server() -> Server:
    """Return a server whose storage needs threads, which load what guesses lack."""
    server = timeless_server()
    make_slow(server)
    records = server.served.records
    allowance = Allowance(lambda: 0.0)
    server.served.speculation = Speculation(records.find, allowance, records.bring)
    return server


def test_nobody_waits_for_what_a_slow_storage_has_to_load() -> None:
    server = slow_server()
    writer, reader = server.client(), server.client()
    tid = commit(writer, 1, PARENT=record([A, B, C]), A=b"a", B=b"b", C=record([D]), D=b"d")
    warm(server, PARENT, B)
    server.slow.immediate = False
    assert ahead(reader, PARENT) == [(B, tid, b"b")]
    # What is lacking is loaded together, once, and comes with a later answer.
    assert ahead(reader, PARENT) == []
    assert len(server.slow) == 1
    server.slow.work()
    assert ahead(reader, PARENT) == [(A, tid, b"a"), (C, tid, record([D]))]
    server.slow.work()
    assert ahead(reader, C) == [(D, tid, b"d")]
    assert not len(server.slow)


def test_what_changes_while_it_is_loaded_is_not_kept() -> None:
    server = slow_server()
    writer, reader = server.client(), server.client()
    first = commit(writer, 1, PARENT=record([A]), A=b"a")
    warm(server, PARENT)
    server.slow.immediate = False
    server.reactor.immediate = False
    load = reader.send("loadAhead", PARENT, LATEST, *MUCH)
    # The thread has the old revision; its result waits for its turn behind the transaction's.
    writer.send("tpc_begin", 2, "", "", {})
    writer.send("storea", A, first, b"new", 2)
    writer.send("vote", 2)
    server.reactor.turn()
    writer.send("tpc_finish", 2)
    server.slow.work()
    server.reactor.turn()
    assert [event for event in reader.received() if event[1] == load]
    # It is loaded once more.
    server.slow.work()
    server.reactor.immediate = True
    server.reactor.turn()
    second = server.storage.lastTransaction()
    assert second > first
    assert ahead(reader, PARENT) == [(A, second, b"new")]


def test_few_clients_have_a_slow_storage_load_ahead() -> None:
    server = slow_server()
    commit(server.client(), 1, PARENT=record([A]), A=b"a", C=record([D]), D=b"d")
    warm(server, PARENT, C)
    server.slow.immediate = False
    readers = [server.client() for _ in range(5)]
    for reader in readers * 2:
        assert ahead(reader, PARENT) == []
    assert len(server.slow) == 2
    # When the first one is over, there is room for another one, also if the client is gone.
    readers[0].lose()
    server.slow.work()
    for reader in readers[2:]:
        assert ahead(reader, C) == []
    assert len(server.slow) == 2


def test_a_daemon_without_room_for_records_loads_none_ahead() -> None:
    server = slow_server()
    server.served.records.cache = RecordCache(0)
    writer, reader = server.client(), server.client()
    commit(writer, 1, PARENT=record([A]), A=b"a")
    server.slow.immediate = False
    load = reader.send("loadAhead", PARENT, LATEST, *MUCH)
    server.slow.work()
    assert reader.received()[-1][1] == load
    assert not len(server.slow)


def test_a_failed_load_ahead_is_told_to_whoever_asks() -> None:
    server = slow_server()
    writer, reader = server.client(), server.client()
    commit(writer, 1, PARENT=record([A]))
    warm(server, PARENT)
    assert ahead(reader, PARENT) == []
    with pytest.raises(POSKeyError):
        reader.ask("loadAhead", A, LATEST, *MUCH)


def test_news_follow_what_has_come(server: Server) -> None:
    """The storage has the transaction already, and nobody has been told of it."""
    writer, reader = server.client(), server.client()
    first = commit(writer, 1, PARENT=record([A, B]), A=b"a", B=b"b")
    warm(server, PARENT, A, B)
    reader.received()
    server.reactor.immediate = False
    begin(writer, 2, first, A=b"new")
    writer.send("vote", 2)
    server.reactor.turn()
    writer.send("tpc_finish", 2)
    second = server.storage.lastTransaction()
    assert second > first
    load = reader.send("loadAhead", PARENT, LATEST, *MUCH)
    ((_, id, (revision, packed)),) = reader.received()
    assert (id, revision) == (load, (record([A, B]), first, None))
    assert unpacked(packed) == [(A, first, b"a"), (B, first, b"b")]
    server.reactor.turn()
    ((name, told, _),) = reader.received()
    assert (name, told) == ("invalidateTransaction", second)


def test_what_comes_is_not_older_than_the_news_before_it() -> None:
    server = timeless_server()
    make_slow(server)
    writer, reader = server.client(), server.client()
    first = commit(writer, 1, PARENT=record([A, B]), A=b"a", B=b"b")
    warm(server, A, B)
    reader.received()
    server.slow.immediate = False
    load = reader.send("loadAhead", PARENT, LATEST, *MUCH)
    assert reader.received() == []
    second = commit(writer, 2, first, A=b"new")
    assert [event[:2] for event in reader.received()] == [("invalidateTransaction", second)]
    server.slow.work()
    ((_, id, (_, packed)),) = reader.received()
    assert id == load
    assert unpacked(packed) == [(B, first, b"b")]


def test_an_earlier_revision_is_not_sent_as_the_current_one(server: Server) -> None:
    writer, reader = server.client(), server.client()
    first = commit(writer, 1, PARENT=record([A, B]), A=b"a", B=b"b")
    second = commit(writer, 2, first, A=b"new")
    warm(server, A, B)
    # A transaction that began before the change.
    assert ahead(reader, PARENT, tid=second) == [(B, first, b"b")]


def test_several_levels_in_the_order_of_the_references(server: Server) -> None:
    writer, reader = server.client(), server.client()
    commit(writer, 1, PARENT=record([A, B]), A=record([C, D]), B=b"b", C=b"c", D=b"d")
    warm(server, A, B, C, D)
    assert [oid for oid, _, _ in ahead(reader, PARENT)] == [A, B, C, D]
    # What is as probable as not goes before the rest, which is depth first.
    other = server.client()
    for oid in (A, C, D, B):
        other.ask("loadAhead", oid, LATEST, 0, 0, 1, b"", 1)
    other.ask("loadAhead", PARENT, LATEST, 0, 0, 1, b"", 1)
    for _ in range(4):
        learner = server.client()
        learner.ask("loadAhead", PARENT, LATEST, 0, 0, 1, b"", 1)
        for oid in (A, C, D, B):
            learner.ask("loadAhead", oid, LATEST, 0, 0, 1, b"", 1)
    assert [oid for oid, _, _ in ahead(server.client(), PARENT)] == [A, C, D, B]


@pytest.mark.parametrize(
    ("wish", "count"),
    [
        ((2, 2**20, 1), 2),
        ((0, 2**20, 1), 0),
        ((100, 0, 1), 0),
        ((100, 40, 1), 2),
        ((100, 2**20, 1000), 0),
        ((100, 2**20, 400), 4),
    ],
)
def test_limits(server: Server, wish: tuple[int, int, int], count: int) -> None:
    writer, reader = server.client(), server.client()
    commit(writer, 1, PARENT=record([A, B, C, D]), A=b"a" * 30, B=b"b" * 30, C=b"c" * 30, D=b"d")
    warm(server, A, B, C, D)
    assert len(ahead(reader, PARENT, *wish, b"", 1)) == count


def test_time_is_limited(server: Server) -> None:
    now, step = [0.0], [0.0]

    def seconds() -> float:
        now[0] += step[0]
        return now[0]

    allowance = Allowance(seconds)
    server.served.speculation = Speculation(server.served.records.find, allowance)
    writer, reader = server.client(), server.client()
    commit(writer, 1, PARENT=record([A, B]), A=b"a", B=b"b")
    warm(server, A, B)
    # Each look at the clock takes longer than the guesses of one answer may take.
    step[0] = 0.1
    assert ahead(reader, PARENT) == []
    # All that was saved up is used up.
    step[0] = 0.0
    assert ahead(reader, PARENT) == []
    now[0] += 10
    assert len(ahead(reader, PARENT)) == 2


def test_what_is_missing_or_broken_does_not_come(server: Server) -> None:
    writer, reader = server.client(), server.client()
    tid = commit(writer, 1, PARENT=record([A, B, C]), A=b"a", C=b"c")
    warm(server, A, C)
    assert ahead(reader, PARENT) == [(A, tid, b"a"), (C, tid, b"c")]


def test_a_record_that_is_missing_is_told_as_ever(server: Server) -> None:
    reader = server.client()
    with pytest.raises(POSKeyError):
        reader.ask("loadAhead", A, LATEST, *MUCH)
    tid = commit(server.client(), 1, A=b"a")
    assert reader.ask("loadAhead", A, tid, *MUCH) == (None, b"")


def test_guesses_that_fail_fail_no_load(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> bytes:
        raise ZeroDivisionError("guess")

    tid = commit(server.client(), 1, PARENT=record([A]), A=b"a")
    monkeypatch.setattr(server.served.speculation, "ahead", fail)
    with capturedLogs() as events:
        answer = server.client().ask("loadAhead", PARENT, LATEST, *MUCH)
    assert answer == ((record([A]), tid, None), b"")
    (failure,) = [event["log_failure"] for event in events if "log_failure" in event]
    assert isinstance(failure.value, ZeroDivisionError)


def test_a_busy_server_sends_only_what_is_probable(server: Server) -> None:
    now = [0.0]
    allowance = Allowance(lambda: now[0])
    server.served.speculation = Speculation(server.served.records.find, allowance)
    writer, reader = server.client(), server.client()
    commit(writer, 1, PARENT=record([A]), A=record([B]), B=b"b")
    warm(server, A, B)
    allowance.begin()
    now[0] += 0.006
    allowance.end()
    assert [oid for oid, _, _ in ahead(reader, PARENT)] == [A]


def test_a_client_that_leaves_during_its_load_stays_forgotten() -> None:
    server = timeless_server()
    make_slow(server)
    writer, reader = server.client(), server.client()
    commit(writer, 1, PARENT=record([A]), A=b"a")
    server.slow.immediate = False
    reader.send("loadAhead", PARENT, LATEST, *MUCH)
    reader.lose()
    assert len(server.slow) == 1
    server.slow.work()
    assert len(server.served.speculation) == 0


def test_what_waits_for_a_standby_does_not_come() -> None:
    server = Server(synchronous_standby=10.0)
    server.served.speculation = Speculation(server.served.records.find, Allowance(lambda: 0.0))
    writer, reader, standby = (server.client() for _ in range(3))
    first = commit(writer, 1, PARENT=record([A, B]), A=b"a")
    standby.ask("standby_has", first)
    begin(writer, 2, first, A=b"new")
    writer.tell("storea", B, bytes(8), b"new", 2)
    writer.ask("vote", 2)
    finish = writer.send("tpc_finish", 2)
    assert ahead(reader, PARENT) == [(A, first, b"a")]
    reader.received()
    standby.ask("standby_has", server.storage.lastTransaction())
    ((_, id, second),) = writer.received()
    assert id == finish
    assert ahead(reader, PARENT) == [(A, second, b"new"), (B, second, b"new")]


def test_what_was_used_takes_time_as_well() -> None:
    """Another one pays for it: nothing is looked at when the time is over."""
    server = timeless_server()
    time = iter(range(10**6))
    looked: list[bytes] = []

    def find(oid: bytes, tid: bytes) -> Any:
        looked.append(oid)
        return server.served.records.find(oid, tid)

    # Each look at the clock takes a millisecond.
    server.served.speculation = Speculation(find, Allowance(lambda: next(time) / 1000))
    writer, reader = server.client(), server.client()
    commit(writer, 1, PARENT=record([A, B]), A=b"a", B=b"b")
    used = b"".join(number.to_bytes(8, "big") for number in range(2, 1000))
    reader.ask("loadAhead", PARENT, LATEST, 0, 0, 1000, used, 1)
    assert len(looked) < 5


def test_the_client_that_was_idle_longest_is_forgotten_first(server: Server) -> None:
    writer = server.client()
    commit(writer, 1, PARENT=record([A]), A=b"a")
    warm(server, A)
    first, *others = (server.client() for _ in range(MOST_CLIENTS))
    for each in (first, *others):
        assert [oid for oid, _, _ in ahead(each, PARENT)] == [A]
    # What a client was sent is not sent again.
    assert ahead(first, PARENT) == []
    ahead(server.client(), PARENT)
    assert len(server.served.speculation) == MOST_CLIENTS
    assert ahead(first, PARENT) == []
    assert [oid for oid, _, _ in ahead(others[0], PARENT)] == [A]


def test_clients_that_were_sent_records_in_another_way_are_not_too_many() -> None:
    server = timeless_server()
    commit(server.client(), 1, A=b"a")
    for _ in range(MOST_CLIENTS + 5):
        server.client().ask("load_popular", [A], LATEST)
    assert len(server.served.speculation) == MOST_CLIENTS


def test_a_client_that_has_left_is_forgotten(server: Server) -> None:
    writer, reader = server.client(), server.client()
    commit(writer, 1, PARENT=record([A]), A=b"a")
    ahead(reader, PARENT)
    assert len(server.served.speculation) == 1
    reader.lose()
    assert len(server.served.speculation) == 0


@pytest.mark.parametrize(
    "wish",
    [(1001, 0, 0, b"", 0), (0, 2**20 + 1, 0, b"", 0), (0, 0, 1001, b"", 0), (0, 0, 0, b"x", 0)]
    + [(0, 0, 0, bytes(8008), 0), (0, 0, 0, b"", -1), (-1, 0, 0, b"", 0), (0, 0.5, 0, b"", 0)],
)
def test_wishes_are_checked(server: Server, wish: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"loadAhead: .* was expected"):
        server.client().ask("loadAhead", A, LATEST, *wish)


# The client.


class Reader:
    """One thread that loads what a test says from a server that answers as it says."""

    def __init__(
        self,
        handshake: ServerHandshake | None = None,
        capabilities: dict[str, Any] = {LOAD_AHEAD: {}},  # noqa: B006 - it is not changed
        **options: Any,
    ) -> None:
        self.client = Client(**{"read_ahead": "auto"} | options)
        self.server = PuppetServer(self.client, handshake, capabilities).establish(T0)
        self._thread = ThreadPoolExecutor(1)

    def begin(self, oid: bytes, tid: bytes = LATEST) -> Future[Any]:
        return self._thread.submit(self.client.storage.loadBefore, oid, tid)

    def asked(self, name: str) -> Any:
        """Return the next call, once it is there; it must be `name`."""
        wait_until("it asks", self.server.calls)
        return self.server.next(name)

    def load(self, oid: bytes) -> None:
        """Load one record, and see that it is asked for alone."""
        result = self.begin(oid)
        call = self.asked("loadBefore")
        self.server.deliver(self.server.answer(call, (b"data", T0, None)))
        assert result.result(SOON) == (b"data", T0, None)

    def load_ahead(self, oid: bytes, *records: tuple[bytes, bytes, bytes]) -> Any:
        """Load one record, and have others come with it; return the call."""
        result = self.begin(oid)
        call = self.asked("loadAhead")
        assert call.args[:2] == (oid, LATEST)
        answer = ((b"data", T0, None), pack_ahead(records))
        self.server.deliver(self.server.answer(call, answer))
        assert result.result(SOON) == (b"data", T0, None)
        return call

    def end(self) -> None:
        self.client.storage.close()
        self._thread.shutdown()


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Reader]]:
    # No server is too near.
    monkeypatch.setattr(worth, "_NEAR", 0.0)
    readers: list[Reader] = []

    def make(*args: Any, **options: Any) -> Reader:
        readers.append(Reader(*args, **options))
        return readers[-1]

    yield make
    for reader in readers:
        reader.end()


@pytest.fixture
def reader(make: Callable[..., Reader]) -> Reader:
    reader = make()
    # The first load measures the time of a round trip.
    reader.load(D)
    return reader


def test_what_has_come_is_in_the_cache(reader: Reader) -> None:
    reader.load_ahead(PARENT, (A, T0, b"a"), (B, T0, b"b"))
    assert reader.begin(A).result(SOON) == (b"a", T0, None)
    assert reader.client.cached(B) == (b"b", T0, None)
    assert reader.server.calls() == []


def test_the_server_is_told_what_was_used(reader: Reader) -> None:
    # What was loaded alone counts, too.
    assert reader.load_ahead(PARENT, (A, T0, b"a"), (B, T0, b"b")).args[5] == D
    for oid in (B, A, A, PARENT):
        assert reader.begin(oid).result(SOON)
    assert reader.load_ahead(C).args[5] == B + A
    assert reader.load_ahead(b"another1").args[5] == b""


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_news_behind_the_answer_hit_what_came_with_it(reader: Reader, step: int) -> None:
    result = reader.begin(PARENT)
    call = reader.asked("loadAhead")
    records = pack_ahead([(A, T0, b"a"), (B, T0, b"b")])
    stream = reader.server.answer(call, ((b"data", T0, None), records))
    stream += reader.server.says("invalidateTransaction", T1, [PARENT, A])
    for start in range(0, len(stream), step):
        reader.server.deliver(stream[start : start + step])
    client = reader.client
    assert client.cached(B) == (b"b", T0, None)
    for oid, data in ((PARENT, b"data"), (A, b"a")):
        assert client.cached(oid) is None
        assert client.cached(oid, T1) == (data, T0, T1)
    assert result.result(SOON) == (b"data", T0, None)


def test_news_before_the_answer_leave_what_is_new(reader: Reader) -> None:
    result = reader.begin(PARENT)
    call = reader.asked("loadAhead")
    records = pack_ahead([(A, T1, b"new"), (B, T0, b"b")])
    reader.server.deliver(
        reader.server.says("invalidateTransaction", T1, [A]),
        reader.server.answer(call, ((b"data", T0, None), records)),
    )
    assert result.result(SOON)
    assert reader.client.cached(A) == (b"new", T1, None)
    assert reader.client.cached(B) == (b"b", T0, None)


def test_the_tid_is_that_of_the_load(reader: Reader) -> None:
    result = reader.begin(PARENT, T2)
    call = reader.asked("loadAhead")
    assert call.args[:2] == (PARENT, T2)
    reader.server.deliver(reader.server.answer(call, ((b"old", T0, T1), b"")))
    assert result.result(SOON) == (b"old", T0, T1)
    assert reader.client.cached(PARENT) is None
    assert reader.client.cached(PARENT, T1) == (b"old", T0, T1)


def test_nothing_there(reader: Reader) -> None:
    result = reader.begin(PARENT)
    reader.server.deliver(reader.server.answer(reader.asked("loadAhead"), (None, b"")))
    assert result.result(SOON) is None
    result = reader.begin(PARENT)
    call = reader.asked("loadAhead")
    reader.server.deliver(reader.server.refusal(call, POSKeyError(PARENT)))
    with pytest.raises(POSKeyError):
        result.result(SOON)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        (b"data", T0, None),
        ((b"data", T0, None), None),
        ((b"data", T0), b""),
        ((b"data", T0, None), b"\x07"),
        ((b"data", T0, None), b"\0\0\1"),
        ((b"data", T0, None), b"\1\0\1"),
        ((b"data", T0, None), pack_ahead([(A, T0, b"a")])[:-1]),
        ((b"data", T0, None), pack_ahead([(A, T0, b"a")]) + b"a"),
        ((b"data", T0, None), pack_ahead([(A, T0, b"a" * 9000)])[:-1]),
        ((b"data", T0, None), pack_ahead([(A, T0, bytes(2**24))])),
    ],
    ids=lambda value: repr(value)[:50],
)
def test_nonsense_is_not_believed(reader: Reader, answer: Any) -> None:
    result = reader.begin(PARENT)
    reader.server.deliver(reader.server.answer(reader.asked("loadAhead"), answer))
    with pytest.raises(UnrecognizedResult):
        result.result(SOON)
    assert reader.client.cached(A) is None


def test_the_connection_is_lost_meanwhile(reader: Reader) -> None:
    result = reader.begin(PARENT)
    reader.asked("loadAhead")
    reader.server.lose()
    with pytest.raises(ClientDisconnected):
        result.result(SOON)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((ServerHandshake(extended=False),), {}),
        ((None, {}), {}),
        ((), {"read_ahead": False}),
        ((), {"read_ahead": True}),
    ],
    ids=["version 5", "an older server", "switched off", "the client reads ahead"],
)
def test_off(make: Callable[..., Reader], arguments: Any, options: dict[str, Any]) -> None:
    reader = make(*arguments, **options)
    for oid in (PARENT, A, B):
        reader.load(oid)


def test_a_server_that_is_near(
    make: Callable[..., Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worth, "_NEAR", 1000.0)
    reader = make()
    for oid in (PARENT, A, B):
        reader.load(oid)


def test_what_came_pushes_out_nothing_popular(make: Callable[..., Reader]) -> None:
    reader = make(cache_size=3000)
    popular = [number.to_bytes(8, "big") for number in range(100, 110)]
    for oid in popular:
        if oid is popular[0]:
            reader.load(oid)
        else:
            reader.load_ahead(oid)
        assert reader.begin(oid).result(SOON)
    for number in range(200, 300):
        reader.load_ahead(
            number.to_bytes(8, "big"),
            # Some of them have come before, and have been dropped.
            *[((1000 + n).to_bytes(8, "big"), T0, b"x" * 100) for n in range(number % 7, 20)],
        )
    assert [oid for oid in popular if reader.client.cached(oid) is None] == []
