"""The ordering rules that a server has to keep.

Each test names its rule. `test_mutants.py` breaks each rule and checks that its test notices.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor
from ZODB.DemoStorage import DemoStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError, StorageError, StorageTransactionError

from zeotwisted.exceptions import ServerException
from zeotwisted.protocol.session import Called, Replied
from zeotwisted.storageserver.commit import transaction
from zeotwisted.storageserver.commit.commitlog import CommitLog
from zeotwisted.storageserver.commit.transaction import ALLOWED, Phase
from zeotwisted.storageserver.storage.loads import Loads, RecordsInThreads
from zeotwisted.transport.sockets import DirectWriter

from .puppets import LATEST, OID_A, OID_B, PuppetClient, Reactor, Server


@pytest.fixture(params=["at once", "in the thread"], autouse=True)
def votes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where short votes are done: what holds for one place has to hold for the other."""
    if request.param == "in the thread":
        monkeypatch.setattr(transaction, "_QUICK_COUNT", -1)
    return request.param


def invalidations(client: PuppetClient) -> list[tuple[bytes, tuple[bytes, ...]]]:
    """Return tids and oids of the invalidations that have arrived since the last look."""
    return [
        (event[1], tuple(event[2]))
        for event in client.received()
        if event[0] == "invalidateTransaction"
    ]


# Rule 5: answers and news leave in the order in which they became true.


def test_load_computed_before_a_commit_is_sent_before_its_invalidation() -> None:
    server = Server()
    writer, reader = server.client(), server.client()
    first = writer.commit(1, OID_A)
    reader.received()
    # The commit is in the storage's thread when the reader asks.
    writer.begin(2, OID_A, serial=first)
    writer.ask("vote", 2)
    server.commits.immediate = False
    writer.send("tpc_finish", 2)
    load = reader.send("loadBefore", OID_A, LATEST)
    server.commits.work()
    (answer, news) = reader.received()
    assert answer == ("reply", load, (b"data of 1", first, None))
    assert news[0] == "invalidateTransaction" and tuple(news[2]) == (OID_A,)


def test_slow_storage_keeps_nobody_waiting() -> None:
    class Remote:
        """Some storage that may take its time; all we know of it is its interface."""

        def __init__(self) -> None:
            self._storage = MappingStorage()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._storage, name)

        def __len__(self) -> int:
            return len(self._storage)

    server = Server(Remote())
    one, other = server.client(), server.client()
    tid = one.commit(1, OID_A)
    other.received()
    server.slow.immediate = False
    load = one.send("loadBefore", OID_A, LATEST)
    assert one.ask("ping") is None and other.ask("ping") is None
    server.slow.work()
    assert one.received() == [("reply", load, (b"data of 1", tid, None))]


@pytest.mark.parametrize("make", [MappingStorage, DemoStorage])
def test_storage_in_memory_is_read_at_once(make: Any) -> None:
    server = Server(make())
    client = server.client()
    tid = client.commit(1, OID_A)
    server.slow.immediate = False
    assert client.ask("loadBefore", OID_A, LATEST) == (b"data of 1", tid, None)


def test_load_in_a_thread_is_done_again_when_the_object_has_changed() -> None:
    """Its answer would follow the invalidation, and bring back the old revision."""
    server = Server()
    server.served.records.loads = Loads(RecordsInThreads(server.storage, server.slow.run))
    writer, reader = server.client(), server.client()
    first = writer.commit(1, OID_A)
    reader.received()
    server.slow.immediate = False
    server.reactor.immediate = False
    load = reader.send("loadBefore", OID_A, LATEST)
    server.slow.work()
    # The load is done, and a commit is published before its answer gets to the reactor.
    answers, server.reactor = server.reactor, Reactor()
    server.served.publications._call_from_thread = server.reactor.call_from_thread
    server.commits._call_from_thread = server.reactor.call_from_thread
    second = writer.commit(2, OID_A, serial=first)
    assert invalidations(reader) == [(second, (OID_A,))]
    answers.turn()
    assert reader.received() == [], "the old revision was sent"
    server.slow.work()
    answers.turn()
    assert reader.received() == [("reply", load, (b"data of 2", second, None))]


def test_nothing_is_told_that_has_not_been_published() -> None:
    """Whoever registers between the commit and the fan-out must not miss the invalidation."""
    server = Server()
    writer, reader = server.client(), server.client()
    before = writer.commit(1, OID_A)
    reader.received()
    writer.begin(2, OID_A, serial=before)
    writer.ask("vote", 2)
    server.reactor.immediate = False
    finish = writer.send("tpc_finish", 2)
    after = server.storage.lastTransaction()
    assert after > before, "the storage has the transaction"
    assert reader.ask("lastTransaction") == before
    assert reader.ask("getInvalidations", before) == (before, b"")
    assert reader.ask("server_status")["last-transaction"] == before.hex()
    late = PuppetClient(server)
    assert late.ask("register", "1", False) == before
    assert writer.received() == []
    server.reactor.turn()
    assert invalidations(late) == [(after, (OID_A,))]
    assert invalidations(reader) == [(after, (OID_A,))]
    assert writer.received() == [("reply", finish, after)]
    assert reader.ask("lastTransaction") == after
    assert reader.ask("getInvalidations", before) == (after, OID_A)


@pytest.mark.parametrize("protocol", [b"Z5", b"M5"])
def test_clients_of_version_5_are_told_each_missed_oid_once(protocol: bytes) -> None:
    server = Server()
    writer = server.client()
    before = writer.commit(1, OID_A)
    serial = writer.commit(2, OID_A, serial=before)
    last = writer.commit(3, OID_A, serial=serial)
    stock = server.client(protocol=protocol)
    tid, oids = stock.ask("getInvalidations", before)
    assert tid == last
    assert list(oids) == [OID_A]
    assert writer.ask("getInvalidations", before) == (last, OID_A + OID_A)


def test_answer_to_a_commit_comes_after_the_news_of_all_commits_before_it() -> None:
    server = Server()
    one, two = server.client(), server.client()
    one.begin(1, OID_A)
    two.begin(2, OID_B)
    one.ask("vote", 1)
    vote = two.send("vote", 2)
    assert two.received() == [], "the lock is taken"
    first = one.ask("tpc_finish", 1)
    news, answer = two.received()
    assert news == ("invalidateTransaction", first, (OID_A,))
    assert answer[:2] == ("reply", vote)
    second = two.send("tpc_finish", 2)
    ((kind, id, tid),) = two.received()
    assert (kind, id) == ("reply", second) and tid > first
    assert invalidations(one) == [(tid, (OID_B,))]


@pytest.mark.parametrize("then", [(), (("ping",),)], ids=["alone", "followed"])
def test_commit_is_answered_before_the_lock_moves_on(then: tuple[Any, ...]) -> None:
    """Whoever gets the lock next must not be able to overtake the answer."""
    server = Server()
    one, two = server.client(), server.client()
    one.begin(1, OID_A)
    two.begin(2, OID_B)
    one.ask("vote", 1)
    two.send("vote", 2)
    written: list[str] = []
    release = server.served.lock.release

    class Watched:
        """The lock, and what the committer has been sent when it is released."""

        def __getattr__(self, name: str) -> Any:
            return getattr(server_lock, name)

        def release(self, owner: Any) -> None:
            written.extend(event[0] for event in one.received())
            release(owner)

    server_lock = server.served.lock
    server.served.lock = Watched()  # type: ignore[assignment]
    one.send_together(("tpc_finish", 1), *then)
    assert written == ["reply"]


def test_short_vote_is_done_at_once_and_others_keep_nobody_waiting(votes: str) -> None:
    server = Server()
    client, other = server.client(), server.client()
    tid = client.commit(1, OID_A)
    server.commits.immediate = False

    def is_done_at_once(id: int) -> bool:
        client.received()
        vote = client.send("vote", id)
        done = [event[1] for event in client.received() if event[0] == "reply"] == [vote]
        assert len(server.commits) == (not done)
        assert other.ask("ping") is None
        while server.commits:
            server.commits.work()
        client.send("tpc_abort", id)
        while server.commits:
            server.commits.work()
        return done

    client.begin(2, OID_A, OID_B, serial=tid)
    assert is_done_at_once(2) == (votes == "at once")
    # Many records, long ones, what may take its time, and a storage that may be locked.
    client.begin(3, *(number.to_bytes(8, "big") for number in range(100, 200)))
    assert not is_done_at_once(3)
    client.begin(4)
    client.tell("storea", OID_B, b"\0" * 8, b"x" * 200_000, 4)
    assert not is_done_at_once(4)
    client.begin(5)
    client.tell("undoa", b"nothing", 5)
    assert not is_done_at_once(5)
    server.slow.immediate = False
    other.send("pack", 0.0, False)
    client.begin(6, OID_B)
    assert not is_done_at_once(6)
    server.slow.work()
    client.begin(7, OID_B)
    assert is_done_at_once(7) == (votes == "at once")
    server.served.records.loads = Loads(RecordsInThreads(server.storage, server.slow.run))
    client.begin(8, OID_B)
    assert not is_done_at_once(8)


def test_vote_at_once_waits_for_the_commit_before_to_be_told() -> None:
    """The storage has committed, but the reactor does not know it yet."""
    server = Server()
    one, two = server.client(), server.client()
    one.begin(1, OID_A)
    one.ask("vote", 1)
    server.reactor.immediate = False
    finish = one.send("tpc_finish", 1)
    two.begin(2, OID_B)
    vote = two.send("vote", 2)
    assert two.received() == [], "the vote overtakes the news"
    server.reactor.turn()
    first = server.storage.lastTransaction()
    assert one.received() == [("reply", finish, first)]
    news, answer = two.received()
    assert news == ("invalidateTransaction", first, (OID_A,))
    assert answer[:2] == ("reply", vote)


def test_who_waits_comes_first_and_everybody_is_told_in_the_same_turn() -> None:
    """What is held back for that is overtaken by nothing, and is held back no longer than that."""
    server = Server()
    one, two, other = server.client(), server.client(), server.client()
    written: list[tuple[str, Any]] = []

    def watch(name: str, client: PuppetClient) -> None:
        def write(data: bytes) -> None:
            for event in client._session.receive(data):
                if type(event) is Replied:
                    written.append((name, event.id))
                elif type(event) is Called and event.call.name != "info":
                    written.append((name, event.call.name))

        client.transport.write = write  # type: ignore[method-assign]

    one.begin(1, OID_A)
    one.ask("vote", 1)
    two.begin(2, OID_B)
    for name, client in (("one", one), ("two", two), ("other", other)):
        watch(name, client)
    vote = two.send("vote", 2)
    server.reactor.immediate = False
    finish = one.send("tpc_finish", 1)
    load = other.send("loadBefore", OID_A, b"\0" * 7 + b"\1")
    # Computed before the commit was told, and sent before.
    assert written == [("other", load)]
    del written[:]
    server.reactor.turn()
    news = "invalidateTransaction"
    if not server.served.lock.waiting and ("two", vote) in written[:3]:
        assert written == [("one", finish), ("two", news), ("two", vote), ("other", news)]
    else:
        assert written[0] == ("one", finish)
        assert written.index(("two", news)) < written.index(("two", vote))
        assert ("other", news) in written


@pytest.mark.parametrize("count", [1, 2])
def test_news_that_is_held_back_survives_what_is_read(count: int) -> None:
    """It leaves before the answers to what its client has sent meanwhile, a call or a burst."""
    server = Server()
    one, two = server.client(), server.client()
    one.begin(1, OID_A)
    one.ask("vote", 1)
    server.served.publications.reserve(b"\0" * 7 + b"\x99", [OID_B], None).outcome = True
    server.served.publications.publish()
    two.send_together(*[("ping",)] * count)
    news, *answers = two.received()
    assert news == ("invalidateTransaction", b"\0" * 7 + b"\x99", (OID_B,))
    assert [answer[0] for answer in answers] == ["reply"] * count
    server.served.send_news()
    assert two.received() == []


def test_commit_is_answered_together_with_the_sizes_before() -> None:
    """One message would wake the client before it can see what it waits for."""
    server = Server()
    client = server.client()
    client.begin(1, OID_A)
    client.ask("vote", 1)
    server.commits.immediate = False
    finish = client.send("tpc_finish", 1)
    written: list[bytes] = []
    client.transport.write = written.append  # type: ignore[method-assign]
    server.commits.work()
    (data,) = written
    info, answer = client._session.receive(data)
    assert type(info) is Called and info.call.name == "info"
    assert info.args == ({"length": 1, "size": server.storage.getSize()},)
    assert answer == Replied(finish, server.storage.lastTransaction())


class Outside(MappingStorage):
    """A storage to which somebody else commits while we commit."""

    def registerDB(self, db: Any) -> None:
        self.db = db

    def tpc_finish(self, transaction: Any, func: Any = lambda tid: None) -> Any:
        def speak(tid: bytes) -> None:
            func(tid)
            later = (int.from_bytes(tid, "big") + 1).to_bytes(8, "big")
            other = threading.Thread(target=self.db.invalidate, args=(later, [OID_B]))
            other.start()
            other.join()

        return super().tpc_finish(transaction, speak)


@pytest.mark.parametrize("at_once", [False, True], ids=["later", "at once"])
def test_news_from_outside_keeps_its_place_between_commits(at_once: bool) -> None:
    """Rule 9: a storage speaks from any thread, and the order in which it speaks counts."""

    server = Server(Outside())
    writer, reader = server.client(), server.client()
    # "At once": the reactor looks at the queue while the commit before is not settled.
    server.reactor.immediate = at_once
    writer.begin(1, OID_A)
    writer.send("vote", 1)
    server.reactor.turn()
    finish = writer.send("tpc_finish", 1)
    server.reactor.turn()
    mine = next(event[2] for event in writer.received() if event[:2] == ("reply", finish))
    later = (int.from_bytes(mine, "big") + 1).to_bytes(8, "big")
    assert invalidations(reader) == [(mine, (OID_A,)), (later, (OID_B,))]


@pytest.mark.parametrize("at_once", [False, True], ids=["later", "at once"])
def test_news_from_outside_does_not_overtake_the_answer_to_a_commit(at_once: bool) -> None:
    """Rule 5: the client would be up to date with it, and not know its own commit before it."""
    server = Server(Outside())
    writer = server.client()
    server.reactor.immediate = at_once
    writer.begin(1, OID_A)
    writer.send("vote", 1)
    server.reactor.turn()
    writer.received()
    finish = writer.send("tpc_finish", 1)
    server.reactor.turn()
    answer, news = writer.received()
    assert answer[:2] == ("reply", finish)
    assert news[0] == "invalidateTransaction" and news[1] > answer[2]


@pytest.mark.parametrize("when", ["tpc_finish", "getSize"])
def test_commit_that_is_there_in_spite_of_an_error_is_told_to_everybody(when: str) -> None:
    """Its own client, too, which gets an exception in place of a tid."""

    class Failing(MappingStorage):
        def tpc_finish(self, transaction: Any, func: Any = lambda tid: None) -> Any:
            super().tpc_finish(transaction, func)
            self.done = True
            if when == "tpc_finish":
                raise OSError("too late")

        def getSize(self) -> int:
            if when == "getSize" and getattr(self, "done", False):
                raise OSError("no size")
            return 0

    server = Server(Failing())
    writer, reader = server.client(), server.client()
    writer.begin(1, OID_A)
    writer.ask("vote", 1)
    finish = writer.send("tpc_finish", 1)
    tid = server.storage.lastTransaction()
    answers = writer.received()
    assert invalidations(reader) == [(tid, (OID_A,))]
    if when == "getSize":
        assert answers == [("reply", finish, tid)]
    else:
        (news, (kind, id, _)) = answers
        assert news == ("invalidateTransaction", tid, (OID_A,))
        assert (kind, id) == ("error", finish)
    assert not server.served.lock.holders


def test_storage_that_cannot_say_whether_it_has_committed() -> None:
    """Nobody can be told what happened, so everybody has to find out by reconnecting."""

    class Failing(MappingStorage):
        broken = False
        was_broken = False

        def tpc_finish(self, transaction: Any, func: Any = lambda tid: None) -> Any:
            if self.was_broken:
                return super().tpc_finish(transaction, func)
            func(b"\0" * 7 + b"\x99")
            self.broken = self.was_broken = True
            raise OSError("gone")

        def lastTransaction(self) -> Any:
            if self.broken:
                raise OSError("gone")
            return super().lastTransaction()

    server = Server(Failing())
    writer, reader = server.client(), server.client()
    writer.begin(1, OID_A)
    writer.ask("vote", 1)
    writer.send("tpc_finish", 1)
    assert writer.dropped and reader.dropped
    server.storage.broken = False
    writer.lose()
    reader.lose()
    late = PuppetClient(server)
    late.ask("register", "1", False)
    assert late.ask("getInvalidations", b"\0" * 8) is None
    assert not server.served.lock.holders
    # The storage was aborted, and is not left with a lock of its own.
    tid = late.commit(2, OID_A)
    assert late.ask("getInvalidations", tid) == (tid, b"")


def test_storage_that_has_lost_track_has_its_clients_verify() -> None:
    """As a served client storage does that was away for too long."""

    class Outside(MappingStorage):
        def registerDB(self, db: Any) -> None:
            self.db = db

    server = Server(Outside())
    client = server.client()
    before = client.commit(1, OID_A)
    tid = client.commit(2, OID_A, serial=before)
    server.storage.db.invalidateCache()
    assert client.dropped
    late = PuppetClient(server)
    assert late.ask("register", "1", False) == tid
    assert late.ask("getInvalidations", before) is None
    assert late.ask("getInvalidations", tid) == (tid, b"")


def test_abort_that_comes_too_late_is_answered_after_the_commit() -> None:
    server = Server()
    client = server.client()
    client.begin(1, OID_A)
    client.ask("vote", 1)
    server.commits.immediate = False
    finish = client.send("tpc_finish", 1)
    abort = client.send("tpc_abort", 1)
    assert client.received() == []
    server.commits.work()
    committed, aborted = client.received()
    assert committed == ("reply", finish, server.storage.lastTransaction())
    assert aborted == ("reply", abort, None)


def test_error_that_cannot_be_sent_is_answered_all_the_same() -> None:
    class Failing(MappingStorage):
        def tpc_vote(self, transaction: Any) -> Any:
            raise OSError("no text: \udcff")

    server = Server(Failing())
    client = server.client()
    client.begin(1, OID_A)
    with pytest.raises(StorageError, match="udcff"):
        client.ask("vote", 1)


def test_slow_calls_of_a_lost_client_are_forgotten() -> None:
    server = Server()
    client, other = server.client(), server.client()
    server.slow.immediate = False
    for _ in range(50):
        client.send("history", OID_A)
    client.lose()
    other.send("history", OID_A)
    assert len(server.slow) == 2
    server.slow.work()
    assert len(server.slow) == 1


def test_news_of_a_commit_that_failed_is_not_told() -> None:
    class Failing(MappingStorage):
        def tpc_finish(self, transaction: Any, func: Any = lambda tid: None) -> Any:
            func(b"\0" * 7 + b"\x99")
            raise OSError("disk full")

        def lastTransaction(self) -> Any:
            return b"\0" * 8

    server = Server(Failing())
    writer, reader = server.client(), server.client()
    writer.begin(1, OID_A)
    writer.ask("vote", 1)
    with pytest.raises(ServerException):
        writer.ask("tpc_finish", 1)
    assert invalidations(reader) == []
    assert not server.served.lock.holders


class Reader:
    """A socket that takes next to nothing, with a writer at its other end."""

    def __init__(self) -> None:
        ours, self._theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.transport: Any = Connection(ours, Protocol(), MemoryReactor())  # type: ignore[arg-type]
        self.transport.connected = 1
        self._theirs.setblocking(False)

    def make_room(self) -> bytes:
        """Return what has arrived."""
        data = b""
        with suppress(BlockingIOError):
            while True:
                data += self._theirs.recv(2**20)
        return data

    def read(self) -> bytes:
        """Return what has arrived, and arrives when the reactor sends what it has to."""
        data = self.make_room()
        while self.transport.dataBuffer:
            self.transport.doWrite()
            data += self.make_room()
        return data

    def close(self) -> None:
        self._theirs.close()
        self.transport.socket.close()


def test_what_a_socket_takes_later_is_not_overtaken() -> None:
    """Frames are sent past the transport only while there is nothing in it."""
    reader = Reader()
    writer = DirectWriter(reader.transport)
    frames = [b"%06d" % number * (1 + number % 7 * 500) for number in range(300)]
    # One that fits into no socket's buffer, one that just does, and one that does once there is
    # room again.
    frames += [b"long" * 50_000, b"short", b"middle" * 10_000, b"last"]
    received = b""
    for number, frame in enumerate(frames):
        writer.write(frame)
        if number % 60 == 29:
            received += reader.make_room()
        elif number % 60 == 59:
            received += reader.read()
    assert reader.transport.dataBuffer, "the socket took everything; nothing was tested"
    assert received + reader.read() == b"".join(frames)
    reader.close()


def test_news_between_the_answers_to_a_burst_keeps_its_place() -> None:
    """Answers to what arrives together leave together, and what is said meanwhile between them."""
    server = Server()
    writer, reader = server.client(), server.client()
    tid = writer.commit(1, OID_A)
    reader.received()
    later = (int.from_bytes(tid, "big") + 1).to_bytes(8, "big")

    def new_oid() -> bytes:
        server.served.publications.add(later, [OID_A])
        return OID_B

    server.storage.new_oid = new_oid
    reader.send_together(("loadBefore", OID_A, LATEST), ("new_oid",), ("lastTransaction",))
    load, news, oid, last = reader.received()
    assert load[2][1] == tid
    assert news == ("invalidateTransaction", later, (OID_A,))
    assert oid[2] == OID_B
    assert last[2] == later


def test_calls_that_wait_for_room_keep_their_order() -> None:
    """Those that a client has no room for the answers of are dealt with when it has."""
    server = Server()
    writer, reader = server.client(), server.client()
    writer.tell("tpc_begin", 1, "", "", {})
    writer.tell("storea", OID_A, bytes(8), b"x" * 600_000, 1)
    writer.ask("vote", 1)
    first = writer.ask("tpc_finish", 1)
    reader.received()
    load = ("loadBefore", OID_A, LATEST)

    reader.transport.producer.pauseProducing()
    reader.send_together(load, load, load, ("lastTransaction",))
    assert reader.transport.producerState == "paused"
    assert [event[2][1] for event in reader.received()] == [first, first]
    # What comes all the same has its place behind them.
    reader.send("new_oid")
    second = writer.commit(2, OID_A, serial=first)
    reader.transport.producer.resumeProducing()
    # There is no room again before they can be dealt with.
    reader.transport.producer.pauseProducing()
    reader.protocol.push("invalidateTransaction", second, [OID_B])
    reader.send("server_status")
    server.clock.advance(0)
    reader.transport.producer.resumeProducing()
    server.clock.advance(0)
    news, other, loaded, last, oids, status = reader.received()
    assert (news, other[0]) == (("invalidateTransaction", second, (OID_A,)), news[0])
    assert (loaded[2][1], last[2]) == (second, second)
    assert len(oids[2]) == 8 and "loads" in status[2]
    assert reader.transport.producerState == "producing"
    assert reader.ask("lastTransaction") == second


def test_many_messages_of_one_client_let_others_have_their_turn() -> None:
    """Each message takes some milliseconds; what was read at a time is dealt with in pieces."""
    server = Server()
    busy = server.client()
    calls: list[bytes] = []

    def new_oid() -> bytes:
        server.clock.rightNow += 0.003
        calls.append(OID_A)
        return len(calls).to_bytes(8, "big")

    server.storage.new_oid = new_oid
    busy.send_together(*[("new_oid",)] * 20, ("lastTransaction",))
    assert len(calls) < 10
    assert busy.transport.producerState == "paused"
    # It is the turn of others, and what comes all the same has its place behind.
    busy.send("server_status")
    assert len(calls) < 10
    turns = 0
    while due := [call for call in server.clock.calls if call.getTime() <= server.clock.seconds()]:
        done = len(calls)
        # As a reactor does: what is asked for meanwhile waits for the next turn.
        (turn,) = due
        server.clock.calls.remove(turn)
        turn.func()
        turns += 1
        assert len(calls) - done < 10
    assert 2 <= turns < 10
    *oids, last, status = busy.received()
    assert [oid[2] for oid in oids] == [number.to_bytes(8, "big") for number in range(1, 21)]
    assert len(last[2]) == 8 and "loads" in status[2]
    assert busy.transport.producerState == "producing"


def test_clients_with_many_messages_share_a_turn() -> None:
    """However many of them there are, those with few do not wait for longer."""
    server = Server()
    calls: list[None] = []

    def new_oid() -> bytes:
        server.clock.rightNow += 0.001
        calls.append(None)
        return OID_A

    server.storage.new_oid = new_oid
    done = []
    for _ in range(5):
        server.client().send_together(*[("new_oid",)] * 100)
        done.append(len(calls))
        calls.clear()
    assert done[0] > 15
    assert sorted(done, reverse=True) == done
    assert done[-1] < 6


def test_client_that_leaves_while_others_have_their_turn() -> None:
    server = Server()
    busy = server.client()
    calls: list[None] = []

    def new_oid() -> bytes:
        server.clock.rightNow += 1
        calls.append(None)
        return OID_A

    server.storage.new_oid = new_oid
    busy.send_together(*[("new_oid",)] * 5)
    busy.lose()
    server.clock.advance(0)
    assert len(calls) == 1
    assert not server.factory.clients.rounds


# Rule 6: the fan-out.


def test_each_client_hears_the_news_in_its_own_encoding() -> None:
    server = Server()
    writer = server.client()
    readers = [server.client(protocol=protocol) for protocol in (b"Z5", b"M5", b"M6") * 2]
    tid = writer.commit(1, OID_A, OID_B)
    for reader in readers:
        assert invalidations(reader) == [(tid, (OID_A, OID_B))]


def test_one_clients_failure_does_not_keep_the_news_from_the_others() -> None:
    server = Server()
    writer, broken, last = server.client(), server.client(), server.client()

    def write(data: bytes) -> None:
        raise OSError("broken transport")

    broken.transport.write = write  # type: ignore[method-assign]
    tid = writer.commit(1, OID_A)
    assert invalidations(last) == [(tid, (OID_A,))]
    assert broken.dropped


@pytest.mark.parametrize("when", ["tell", "send"])
def test_client_that_leaves_during_the_fan_out_hides_nobody(when: str) -> None:
    server = Server()
    writer, leaving, last = server.client(), server.client(), server.client()

    def leave(*news: Any) -> None:
        leaving.lose()

    setattr(leaving.protocol, when, leave)
    tid = writer.commit(1, OID_A)
    assert invalidations(last) == [(tid, (OID_A,))]


def test_created_objects_are_part_of_the_news_and_the_committer_gets_none() -> None:
    server = Server()
    writer, reader = server.client(), server.client()
    writer.begin(1, OID_A, OID_B)
    writer.ask("vote", 1)
    finish = writer.send("tpc_finish", 1)
    ((kind, id, tid),) = writer.received()
    assert (kind, id) == ("reply", finish)
    assert invalidations(reader) == [(tid, (OID_A, OID_B))]


# Rule 7: a lost connection aborts, and releases or leaves the queue.


@pytest.mark.parametrize("phase", ["collecting", "voted", "voting", "waiting", "finishing"])
def test_lost_client_leaves_the_lock_free(phase: str, votes: str) -> None:
    if phase == "voting" and votes == "at once":
        pytest.skip("nothing happens in between")
    server = Server()
    lost, other = server.client(), server.client()
    if phase == "waiting":
        other.begin(1, OID_A)
        other.ask("vote", 1)
    lost.begin(2, OID_B)
    if phase == "voting":
        server.commits.immediate = False
    if phase != "collecting":
        lost.send("vote", 2)
    if phase == "finishing":
        server.commits.immediate = False
        lost.send("tpc_finish", 2)
    lost.lose()
    while server.commits:
        server.commits.work()
    server.commits.immediate = True
    if phase == "waiting":
        assert server.served.lock.waiting == 0
        other.ask("tpc_finish", 1)
    if phase == "finishing":
        # It was sent, so it is done, and everybody hears of it.
        assert [oids for _, oids in invalidations(other)] == [(OID_B,)]
    else:
        with pytest.raises(KeyError):
            server.storage.loadBefore(OID_B, LATEST)
    assert not server.served.lock.holders
    assert server.served.stats.active_txns == 0
    serial = b"\0" * 8 if phase != "waiting" else server.storage.lastTransaction()
    assert other.commit(3, OID_A, serial=serial)


@pytest.mark.parametrize("phase", list(Phase))
@pytest.mark.parametrize("what", ["storea", "vote", "tpc_finish", "tpc_abort"])
def test_every_call_in_every_phase(phase: Phase, what: str, votes: str) -> None:
    """What is not allowed in a phase is refused, and the next transaction works in any case."""
    if phase is Phase.VOTING and votes == "at once":
        pytest.skip("nothing happens in between")
    server = Server()
    client, other = server.client(), server.client()
    if phase is Phase.WAITING:
        other.begin(9, OID_B)
        other.ask("vote", 9)
    if phase is not Phase.OVER:
        client.begin(1, OID_A)
    if phase is Phase.VOTING:
        server.commits.immediate = False
    if phase not in (Phase.COLLECTING, Phase.OVER):
        client.send("vote", 1)
    if phase in (Phase.FINISHING, Phase.ABORTING):
        server.commits.immediate = False
        client.send("tpc_finish" if phase is Phase.FINISHING else "tpc_abort", 1)
    client.received()
    transaction = client.protocol._connection.transaction
    assert (Phase.OVER if transaction is None else transaction.phase) is phase

    if what == "storea":
        client.tell("storea", OID_B, b"\0" * 8, b"", 1)
        assert client.dropped == (phase is not Phase.COLLECTING)
    else:
        id = client.send(what, 1)
        while server.commits:
            server.commits.work()
        answers = [event for event in client.received() if event[1] == id]
        if what == "tpc_abort" or phase is ALLOWED[what]:
            if not (what == "vote" and phase is Phase.WAITING):
                assert [answer[0] for answer in answers] == ["reply"]
        else:
            ((kind, _, error),) = answers
            assert kind == "error" and isinstance(error, StorageTransactionError)
    while server.commits:
        server.commits.work()
    server.commits.immediate = True
    client.lose()
    if phase is Phase.WAITING:
        other.ask("tpc_abort", 9)
    assert not server.served.lock.holders
    assert server.served.lock.waiting == 0
    assert server.served.stats.active_txns == 0
    current = server.storage.lastTransaction()
    try:
        serial = server.storage.loadBefore(OID_A, LATEST)[1]
    except KeyError:
        serial = b"\0" * 8
    assert other.commit(3, OID_A, serial=serial) > (current or b"")


@pytest.mark.parametrize("what", ["arguments", "disk"])
def test_operation_that_failed_is_told_by_the_vote(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is one-way. To end the connection would have the client try again for ever."""
    server = Server()
    client = server.client()
    client.begin(1, OID_A)
    if what == "arguments":
        client.tell("storea", OID_B, "text", b"data", 1)
    else:

        def full(*args: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(CommitLog, "add", full)
        client.tell("storea", OID_B, b"\0" * 8, b"data", 1)
        monkeypatch.undo()
    client.tell("storea", OID_B, b"\0" * 8, b"more", 1)
    with pytest.raises((TypeError, ServerException), match=r"storea|No space"):
        client.ask("vote", 1)
    client.ask("tpc_abort", 1)
    assert not server.served.lock.holders
    assert client.commit(2, OID_A)


def test_endless_conflicts_end_with_an_error() -> None:
    """Stock clients would go on to tpc_finish, with conflicts that are not resolved."""
    server = Server(client_conflict_resolution=True)
    winner, loser = server.client(), server.client()
    serial = winner.commit(1, OID_A)
    loser.begin(100, OID_A, serial=serial)
    for number in range(2, 11):
        serial = winner.commit(number, OID_A, serial=serial)
        if number < 10:
            ((conflict,), _) = loser.ask("vote", 100)
            assert conflict["oid"] == OID_A and conflict["serials"][0] == serial
            loser.tell("storea", OID_A, serial, b"resolved", 100)
        else:
            with pytest.raises(ConflictError, match="9 times"):
                loser.ask("vote", 100)
    assert not server.served.lock.holders
    loser.ask("tpc_abort", 100)
    assert loser.commit(101, OID_A, serial=serial)


def test_abort_while_waiting_answers_the_vote_too() -> None:
    server = Server()
    one, two = server.client(), server.client()
    one.begin(1, OID_A)
    one.ask("vote", 1)
    two.begin(2, OID_B)
    vote = two.send("vote", 2)
    abort = two.send("tpc_abort", 2)
    (voted, aborted) = two.received()
    assert voted[:2] == ("error", vote) and isinstance(voted[2], StorageTransactionError)
    assert aborted == ("reply", abort, None)


def test_lock_is_fair() -> None:
    server = Server()
    clients = [server.client() for _ in range(5)]
    for number, client in enumerate(clients):
        client.begin(number + 1, number.to_bytes(8, "big"))
        client.send("vote", number + 1)
    for number, client in enumerate(clients):
        assert [event[0] for event in client.received() if event[0] == "reply"] == ["reply"]
        assert server.served.lock.waiting == 4 - number
        client.ask("tpc_finish", number + 1)


def test_queue_of_votes_that_fail_may_be_long() -> None:
    server = Server()
    winner = server.client()
    losers = [server.client() for _ in range(300)]
    winner.begin(1, OID_A)
    winner.ask("vote", 1)
    votes = []
    for loser in losers:
        loser.begin(2, OID_A)
        votes.append(loser.send("vote", 2))
    losers.pop(7).lose()
    del votes[7]
    winner.ask("tpc_finish", 1)
    for loser, vote in zip(losers, votes, strict=True):
        _, (kind, id, error) = loser.received()
        assert (kind, id, type(error)) == ("error", vote, ConflictError)
    assert not server.served.lock.holders
    assert winner.commit(3, OID_B)


def test_lock_has_a_timeout() -> None:
    """A client of version 5 loses its connection, as nothing else tells it."""
    server = Server(transaction_timeout=10)
    slow, other = server.client(protocol=b"M5"), server.client()
    slow.begin(1, OID_A)
    slow.ask("vote", 1)
    other.begin(2, OID_B)
    vote = other.send("vote", 2)
    server.clock.advance(9)
    assert not slow.dropped
    server.clock.advance(2)
    assert slow.dropped
    slow.lose()
    assert ("reply", vote) in [event[:2] for event in other.received()]
    other.ask("tpc_finish", 2)
    server.clock.advance(100)
    assert not other.dropped


@pytest.mark.parametrize("where", ["tpc_begin", "store", "tpc_vote"])
@pytest.mark.parametrize("error", [ConflictError(), OSError("disk full"), ZeroDivisionError()])
def test_storage_that_raises_leaves_the_lock_free(where: str, error: Exception) -> None:
    class Raising(MappingStorage):
        armed = True

    def fail(self: Any, *args: Any) -> Any:
        if self.armed:
            raise error
        return getattr(MappingStorage, where)(self, *args)

    setattr(Raising, where, fail)
    server = Server(Raising())
    client = server.client()
    client.begin(1, OID_A)
    with pytest.raises((ConflictError, ServerException)):
        client.ask("vote", 1)
    server.storage.armed = False
    assert not server.served.lock.holders
    client.ask("tpc_abort", 1)
    assert client.commit(2, OID_A)


# Rule 8: what breaks the protocol ends the connection.


@pytest.mark.parametrize(
    "frame",
    [
        b"\0\0\0\x04\xff\xff\xff\xff",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
    ],
)
def test_garbage_ends_the_connection_and_nothing_else(frame: bytes) -> None:
    server = Server()
    bad, good = server.client(), server.client()
    bad.begin(1, OID_A)
    bad.ask("vote", 1)
    bad.protocol.dataReceived(frame)
    assert bad.dropped
    bad.lose()
    assert good.commit(2, OID_A)


def test_nothing_is_done_after_the_end() -> None:
    server = Server()
    bad = server.client()
    bad.protocol.dataReceived(b"\0\0\0\x01\xff" + bad._session.oneway("tpc_begin", 1, "", "", {}))
    assert bad.dropped
    assert server.served.stats.active_txns == 0
