"""The ordering rules where a thread that waits for an answer reads it itself.

The server is a socket in the hands of the test: what it sends leaves in one piece, or in as many as
the test likes.
"""

from __future__ import annotations

import linecache
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from ssl import SSLContext
from types import FrameType
from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import POSKeyError

from zeotwisted import ClientStorage
from zeotwisted.clientstorage.calls.waiter import Waiter
from zeotwisted.exceptions import ClientDisconnected, ClientStorageError
from zeotwisted.protocol.session import Called, ServerHandshake, Session

from .puppets import INFO, LATEST, OID_A, OID_B, T0, T1, T2

#: How long (seconds) something may take that should take no time at all. Mutants hang.
SOON = float(os.environ.get("SOON", 20))


class Wire:
    """A server that says what the test wants.

    :param contexts: with TLS, the server's and the client's.
    """

    def __init__(self, contexts: tuple[SSLContext, SSLContext] | None = None) -> None:
        self.contexts = contexts
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(SOON)
        self.address = self._listener.getsockname()
        self._socket = self._listener  # until there is a client
        self._session = Session(ServerHandshake())
        self._calls: list[Called] = []

    def establish(self) -> None:
        """Let the client connect and verify; nothing has been committed after T0."""
        self._socket, _ = self._listener.accept()
        self._socket.settimeout(SOON)
        if self.contexts is not None:
            self._socket = self.contexts[0].wrap_socket(self._socket, server_side=True)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._session = Session(ServerHandshake())
        self._calls = []
        self._socket.sendall(self._session.greeting)
        self.send(self.answer(self.call("capabilities"), {}))
        id = self.call("register")
        self._session.registered()
        self.send(self.answer(id, T0))
        while (event := self.next()).call.name != "get_info":
            self.send(self.answer(event.id, (T0, ()) if "get" in event.call.name else T0))
        self.send(self.answer(event.id, INFO))

    def next(self) -> Called:
        """Return the client's next call."""
        while not self._calls:
            data = self._socket.recv(65536)
            assert data, "the client has ended the connection"
            events = self._session.receive(data)
            self._calls.extend(event for event in events if type(event) is Called)
        return self._calls.pop(0)

    def call(self, name: str) -> Any:
        """Return the id of the client's next call, which is `name`."""
        event = self.next()
        assert event.call.name == name
        return event.id

    def answer(self, id: Any, value: Any) -> bytes:
        return self._session.reply(id, value)

    def failure(self, id: Any, error: Exception) -> bytes:
        return self._session.failure(id, error)

    def news(self, tid: bytes, *oids: bytes) -> bytes:
        return self._session.oneway("invalidateTransaction", tid, oids)

    def sizes(self) -> bytes:
        return self._session.oneway("info", {"length": 7, "size": 70})

    def send(self, *frames: bytes) -> None:
        self._socket.sendall(b"".join(frames))

    def hang_up(self) -> None:
        self._socket.close()

    def close(self) -> None:
        self._socket.close()
        self._listener.close()


class Listener:
    """Stands in for a database."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, list[bytes]]] = []
        self.threads: set[int] = set()
        self.told = threading.Event()

    def invalidate(self, tid: bytes, oids: Any) -> None:
        self.heard.append((tid, list(oids)))
        self.threads.add(threading.get_ident())
        self.told.set()

    def invalidateCache(self) -> None: ...

    def transform_record_data(self, data: bytes) -> bytes:
        return data

    untransform_record_data = references = transform_record_data


class Call:
    """A call in a thread of its own."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._results: list[Any] = []

        def run() -> None:
            try:
                self._results.append(function(*args))
            except Exception as error:
                self._results.append(error)

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    @property
    def ident(self) -> Any:
        return self._thread.ident

    def is_done(self, timeout: float) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(SOON)
        assert self._results, "the call hangs"
        return self._results[0]


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


@pytest.fixture
def storage(wire: Wire) -> Iterator[ClientStorage]:
    context = wire.contexts[1] if wire.contexts else None
    storage = ClientStorage(wire.address, wait=False, wait_timeout=SOON, ssl=context)
    wire.establish()
    connection = storage._link.connection
    assert connection is not None
    with connection._changed:
        assert connection._changed.wait_for(lambda: connection.ready is not None, SOON)
    storage.registerDB(Listener())
    yield storage
    storage.close()


def db(storage: ClientStorage) -> Any:
    return storage._db


def test_the_thread_that_waits_reads_its_answer(wire: Wire, storage: ClientStorage) -> None:
    threads = []
    store = storage._cache.store

    def note(*args: Any) -> None:
        threads.append(threading.get_ident())
        store(*args)

    storage._cache.store = note
    call = Call(storage.loadBefore, OID_A, LATEST)
    id = wire.call("loadBefore")
    _until_leading(storage)
    wire.send(wire.answer(id, (b"data", T0, None)))
    assert call.result() == (b"data", T0, None)
    assert threads == [call.ident]


def _until_leading(storage: ClientStorage, leading: bool = True) -> None:
    """Wait until some thread reads, or none. A lock tells nobody when it is taken."""
    reading = storage._link.ready._reading  # type: ignore[union-attr]
    assert reading is not None
    pause = threading.Event()
    for _ in range(1000):
        if reading._baton.locked() is leading:
            return
        pause.wait(0.005)
    raise AssertionError("nobody leads" if leading else "somebody leads for ever")


def _pieces(data: bytes) -> list[tuple[bytes, ...]]:
    return [(data,), *((data[:cut], data[cut:]) for cut in range(1, len(data), 7))]


def test_news_behind_an_answer_hits_what_was_loaded(wire: Wire, storage: ClientStorage) -> None:
    for number, pieces in enumerate(_pieces(bytes(120))):
        tid = (100 + number).to_bytes(8, "big")
        _until_leading(storage, False)
        call = Call(storage.loadBefore, OID_A, LATEST)
        id = wire.call("loadBefore")
        _until_leading(storage)
        data = wire.answer(id, (b"old", T0, None)) + wire.news(tid, OID_A)
        cut = len(pieces[0])
        wire.send(data[:cut])
        wire.send(data[cut:])
        assert call.result() == (b"old", T0, None)
        assert db(storage).told.wait(SOON)
        db(storage).told.clear()
        # Whoever reads now has to ask: the revision in the cache ends with the news.
        while storage.lastTransaction() != tid:
            pass  # it moves right after the database was told
        assert storage._coherence.load_before(OID_A, LATEST) is None
        assert storage._coherence.load_before(OID_A, tid) == (b"old", T0, tid)
        storage._cache.clear()


def test_news_before_an_answer_is_told_before_it(wire: Wire, storage: ClientStorage) -> None:
    call = Call(storage.loadBefore, OID_A, LATEST)
    id = wire.call("loadBefore")
    _until_leading(storage)
    # News belongs to the reactor's thread, which has something else to do.
    busy = threading.Event()
    storage._link.thread.reactor.callFromThread(busy.wait, SOON)
    wire.send(wire.news(T1, OID_A), wire.answer(id, (b"new", T1, None)), wire.news(T2, OID_B))
    assert not call.is_done(0.1)
    busy.set()
    assert call.result() == (b"new", T1, None)
    assert db(storage).heard[0] == (T1, [OID_A])
    assert storage.lastTransaction() >= T1
    assert storage._coherence.load_before(OID_A, LATEST) == (b"new", T1, None)
    assert call.ident not in db(storage).threads


def test_news_stays_in_order(wire: Wire, storage: ClientStorage) -> None:
    for number in range(30):
        tids = [(100 + 2 * number + n).to_bytes(8, "big") for n in (0, 1)]
        # The reactor may still be about to give back what it has taken over.
        _until_leading(storage, False)
        call = Call(storage.loadBefore, OID_A, LATEST)
        id = wire.call("loadBefore")
        _until_leading(storage)
        wire.send(wire.news(tids[0], OID_A))
        wire.send(wire.news(tids[1], OID_A), wire.answer(id, None))
        assert call.result() is None
        assert db(storage).heard == [(tid, [OID_A]) for tid in tids]
        db(storage).heard.clear()


def test_a_thread_reads_the_answers_of_others(wire: Wire, storage: ClientStorage) -> None:
    first = Call(storage.loadBefore, OID_A, LATEST)
    id_a = wire.call("loadBefore")
    _until_leading(storage)
    second = Call(storage.loadBefore, OID_B, LATEST)
    id_b = wire.call("loadBefore")
    wire.send(wire.answer(id_b, (b"b", T0, None)))
    assert second.result() == (b"b", T0, None)
    wire.send(wire.answer(id_a, (b"a", T0, None)))
    assert first.result() == (b"a", T0, None)


def _noting_threads(storage: ClientStorage) -> dict[bytes, int]:
    """Return what will say which thread has put which object into the cache."""
    threads: dict[bytes, int] = {}
    store = storage._cache.store

    def note(oid: bytes, *args: Any) -> None:
        threads[oid] = threading.get_ident()
        store(oid, *args)

    storage._cache.store = note
    return threads


def _until_following(storage: ClientStorage, followers: int) -> None:
    leading = storage._link.ready._leading  # type: ignore[union-attr]
    pause = threading.Event()
    for _ in range(1000):
        if len(leading._followers) == followers:
            return
        pause.wait(0.005)
    raise AssertionError("nobody follows")


def test_who_follows_leads_next(wire: Wire, storage: ClientStorage) -> None:
    threads = _noting_threads(storage)
    first = Call(storage.loadBefore, OID_A, LATEST)
    id_a = wire.call("loadBefore")
    _until_leading(storage)
    second = Call(storage.loadBefore, OID_B, LATEST)
    id_b = wire.call("loadBefore")
    _until_following(storage, 1)
    wire.send(wire.answer(id_a, (b"a", T0, None)))
    assert first.result() == (b"a", T0, None)
    _until_following(storage, 0)
    wire.send(wire.answer(id_b, (b"b", T0, None)))
    assert second.result() == (b"b", T0, None)
    assert threads == {OID_A: first.ident, OID_B: second.ident}
    wire.send(wire.news(T1, OID_A))
    assert db(storage).told.wait(SOON)


def test_who_follows_is_passed_over_if_it_has_its_answer(
    wire: Wire, storage: ClientStorage
) -> None:
    calls = [Call(storage.loadBefore, OID_A, LATEST)]
    ids = [wire.call("loadBefore")]
    _until_leading(storage)
    for number in (1, 2, 3):
        calls.append(Call(storage.loadBefore, (50 + number).to_bytes(8, "big"), LATEST))
        ids.append(wire.call("loadBefore"))
        _until_following(storage, number)
    first, *others = [wire.answer(id, (b"data", T0, None)) for id in ids]
    wire.send(others[0], first, others[2])
    for call in (calls[0], calls[1], calls[3]):
        assert call.result() == (b"data", T0, None)
    wire.send(others[1])
    assert calls[2].result() == (b"data", T0, None)
    _until_leading(storage, False)


def _begin(wire: Wire, storage: ClientStorage) -> TransactionMetaData:
    """Return a transaction that has stored an object, and has been voted for."""
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(OID_A, T0, b"new", "", txn)
    voting = Call(storage.tpc_vote, txn)
    assert [wire.next().call.name, wire.next().call.name] == ["tpc_begin", "storea"]
    wire.send(wire.answer(wire.call("vote"), ([], None)))
    voting.result()
    return txn


def test_a_commit_is_noted_by_its_thread(wire: Wire, storage: ClientStorage) -> None:
    txn = _begin(wire, storage)
    threads: list[int] = []
    finishing = Call(storage.tpc_finish, txn, lambda tid: threads.append(threading.get_ident()))
    id = wire.call("tpc_finish")
    _until_leading(storage)
    wire.send(wire.sizes(), wire.answer(id, T1), wire.news(T2, OID_B))
    assert finishing.result() == T1
    assert threads == [finishing.ident]
    assert db(storage).told.wait(SOON)
    assert storage._coherence.load_before(OID_A, LATEST) == (b"new", T1, None)
    assert storage._info["length"] == 7


def test_a_commit_is_not_noted_by_another_thread(wire: Wire, storage: ClientStorage) -> None:
    """It may hold locks that the database wants, and the one that commits may not."""
    txn = _begin(wire, storage)
    threads: list[int] = []
    loading = Call(storage.loadBefore, OID_B, LATEST)
    id_b = wire.call("loadBefore")
    _until_leading(storage)
    finishing = Call(storage.tpc_finish, txn, lambda tid: threads.append(threading.get_ident()))
    id = wire.call("tpc_finish")
    _until_following(storage, 1)
    wire.send(wire.sizes(), wire.answer(id, T1), wire.answer(id_b, (b"b", T0, None)))
    assert finishing.result() == T1
    assert loading.result() == (b"b", T0, None)
    assert loading.ident not in threads and len(threads) == 1


def test_a_commit_that_cannot_be_noted_ends_the_connection(
    wire: Wire, storage: ClientStorage
) -> None:
    txn = _begin(wire, storage)
    protocol = storage._link.ready
    assert protocol is not None

    def fail(tid: bytes) -> None:
        raise ValueError("the database is not well")

    finishing = Call(storage.tpc_finish, txn, fail)
    id = wire.call("tpc_finish")
    _until_leading(storage)
    wire.send(wire.sizes(), wire.answer(id, T1), wire.news(T2, OID_B))
    assert type(finishing.result()) is ValueError
    assert not protocol.is_open
    # What follows belongs to a connection that is lost.
    assert db(storage).heard == []


def test_who_notes_a_commit_cannot_ask_the_server(wire: Wire, storage: ClientStorage) -> None:
    txn = _begin(wire, storage)
    errors: list[Exception] = []

    def load(tid: bytes) -> None:
        try:
            storage.loadBefore(OID_B, LATEST)
        except Exception as error:
            errors.append(error)

    finishing = Call(storage.tpc_finish, txn, load)
    id = wire.call("tpc_finish")
    _until_leading(storage)
    wire.send(wire.sizes(), wire.answer(id, T1))
    assert finishing.result() == T1
    assert [type(error) for error in errors] == [ClientStorageError]


def test_news_comes_while_nobody_waits(wire: Wire, storage: ClientStorage) -> None:
    call = Call(storage.loadBefore, OID_A, LATEST)
    wire.send(wire.answer(wire.call("loadBefore"), (b"a", T0, None)))
    call.result()
    wire.send(wire.news(T1, OID_A))
    assert db(storage).told.wait(SOON)
    assert db(storage).heard == [(T1, [OID_A])]


def test_an_exception_is_an_answer(wire: Wire, storage: ClientStorage) -> None:
    call = Call(storage.loadBefore, OID_A, LATEST)
    id = wire.call("loadBefore")
    _until_leading(storage)
    wire.send(wire.failure(id, POSKeyError(OID_A)))
    assert type(call.result()) is POSKeyError


@pytest.mark.parametrize("how", ["closed", "cut off", "garbage", "storage closed"])
def test_the_end_of_the_connection_ends_the_wait(
    wire: Wire, storage: ClientStorage, how: str
) -> None:
    first = Call(storage.loadBefore, OID_A, LATEST)
    wire.call("loadBefore")
    _until_leading(storage)
    second = Call(storage.loadBefore, OID_B, LATEST)
    wire.call("loadBefore")
    # The reactor may have been reading just before. Now it is certain that a thread is.
    _until_following(storage, 1)
    if how == "closed":
        wire.hang_up()
    elif how == "cut off":
        wire._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wire.hang_up()
    elif how == "garbage":
        wire.send(b"\0\0\0\5hello")
    else:
        storage.close()
    for call in (first, second):
        assert isinstance(call.result(), ClientDisconnected)


def test_an_answer_of_a_lost_connection_is_not_stored_after_it(
    wire: Wire, storage: ClientStorage
) -> None:
    """What the next connection brings is newer, and must not be followed by what is older."""
    storing, go_on = threading.Event(), threading.Event()
    store = storage._cache.store
    order = []

    def slow(*args: Any) -> None:
        storing.set()
        assert go_on.wait(SOON)
        order.append("stored")
        store(*args)

    protocol = storage._link.ready
    assert protocol is not None
    protocol.lost.addCallback(lambda reason: order.append("lost") or reason)
    storage._cache.store = slow
    call = Call(storage.loadBefore, OID_A, LATEST)
    id = wire.call("loadBefore")
    _until_leading(storage)
    wire.send(wire.answer(id, (b"a", T0, None)))
    assert storing.wait(SOON)
    ended = threading.Event()

    def end() -> None:
        protocol.close(ClientDisconnected("the test wants it"))
        ended.set()

    closing = threading.Event()
    reactor = storage._link.thread.reactor
    reactor.callFromThread(closing.set)
    reactor.callFromThread(end)
    assert closing.wait(SOON)
    assert not ended.wait(0.05)
    go_on.set()
    assert ended.wait(SOON)
    assert order == ["stored", "lost"]
    call.result()


def test_many_threads_at_once(wire: Wire, storage: ClientStorage) -> None:
    """Each gets its own answer, in whatever order they come."""
    threads, loads = 8, 200

    def serve() -> None:
        held: list[bytes] = []
        for number in range(threads * loads):
            event = wire.next()
            held.append(wire.answer(event.id, (event.args[0] * 9, T0, None)))
            # Out of their order, and now and then together with news.
            if len(held) == 3 or number >= threads * loads - 3 * threads or number % 5 == 0:
                tid = (1000 + number).to_bytes(8, "big")
                wire.send(*reversed(held), wire.news(tid, OID_A) if number % 7 == 0 else b"")
                held = []
            elif not wire._calls:
                wire.send(*held)
                held = []

    def load(thread: int) -> None:
        for number in range(loads):
            oid = (10_000 + thread * loads + number).to_bytes(8, "big")
            loaded = storage.loadBefore(oid, LATEST)
            assert loaded is not None and loaded[0] == oid * 9

    calls = [Call(serve), *(Call(load, thread) for thread in range(threads))]
    for call in calls:
        result = call.result()
        assert result is None, result


def test_no_descriptor_is_left_behind(wire: Wire, storage: ClientStorage) -> None:
    reading = storage._link.ready._reading  # type: ignore[union-attr]
    assert reading is not None
    call = Call(storage.loadBefore, OID_A, LATEST)
    wire.call("loadBefore")
    _until_leading(storage)
    storage.close()
    call.result()
    assert reading._watch.closed
    assert reading._socket.fileno() == -1


class CtrlC:
    """Interrupts this thread at one of the lines that a call takes on its way.

    :param number: which one.
    """

    MODULES = ("protocol.py", "reading.py", "leading.py", "calls.py", "waiter.py", "outbox.py")

    def __init__(self, number: int) -> None:
        self._number = number
        self.where = ""

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        path = Path(frame.f_code.co_filename)
        if path.name not in self.MODULES or path.parent.name != "calls" or self.where:
            return None
        # No signal is heeded between the end of a block and the release of its lock.
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).split()
        if event == "line" and line[0] != "with":
            self._number -= 1
            if self._number < 0:
                self.where = f"{path.name}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self._trace


@pytest.mark.parametrize("together", [True, False])
def test_after_ctrl_c_at_any_moment_nobody_waits_for_ever(wire: Wire, together: bool) -> None:
    number = 0
    # A client may come back to the one that it has lost.
    while _interrupt_load(Wire(wire.contexts), number, together):
        number += 1
    assert number > 30


def _interrupt_load(wire: Wire, number: int, together: bool) -> bool:
    """Interrupt the load that reads the answer of another; return False if it was over before."""
    context = wire.contexts[1] if wire.contexts else None
    storage = ClientStorage(wire.address, wait=False, wait_timeout=SOON, ssl=context)
    wire.establish()
    protocol = storage._link.begin().wait(SOON)
    others: list[Call] = []

    def load(oid: bytes) -> Any:
        return protocol.load(Waiter(), oid, LATEST)

    def serve() -> None:
        while True:
            event = wire.next()
            answers = [wire.answer(event.id, (b"data", T0, None))]
            if event.args[0] == OID_A:
                others.append(Call(load, OID_B))
                answers.insert(0, wire.answer(wire.next().id, (b"data", T0, None)))
            for answer in [b"".join(answers)] if together else answers:
                wire.send(answer)

    server = Call(serve)
    ctrl_c = CtrlC(number)
    try:
        with suppress(KeyboardInterrupt, ClientDisconnected), ctrl_c:
            load(OID_A)
        others.append(Call(load, OID_B))
        for call in others:
            assert call.is_done(5), f"after Ctrl-C at {ctrl_c.where} somebody hangs"
            result = call.result()
            assert result == (b"data", T0, None) or isinstance(result, ClientDisconnected)
    finally:
        storage.close()
        server.result()
        wire.close()
    return bool(ctrl_c.where)
