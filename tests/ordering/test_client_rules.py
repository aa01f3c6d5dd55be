"""The ordering rules that a client has to keep.

Each test names its rule. `test_mutants.py` breaks each rule and checks that its test notices.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.mvccadapter import MVCCAdapter
from ZODB.POSException import ReadOnlyError, StorageTransactionError

from zeotwisted.clientstorage.connection.states import State
from zeotwisted.exceptions import ClientDisconnected

from .puppets import INFO, OID_A, OID_B, T0, T1, T2, T3, Client, PuppetServer


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def server(client: Client) -> PuppetServer:
    return client.accept().establish(T0)


def in_thread(function: Any, *args: Any) -> tuple[threading.Thread, list[Any]]:
    """Call a function that blocks; its result or exception will be in the list."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(function(*args))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


def wait_for_call(server: PuppetServer, name: str) -> Any:
    """Return a call that another thread is about to make."""
    deadline = threading.Event()
    for _ in range(1000):
        if server.calls():
            return server.next(name)
        deadline.wait(0.005)
    raise AssertionError(f"{name} was not called")


# Rules 1 and 2: an answer is dealt with before the next message is looked at.


def test_invalidation_behind_a_load_reply_hits_the_loaded_record(
    client: Client, server: PuppetServer
) -> None:
    client.load(OID_A)
    load = server.next("loadBefore")
    server.deliver(
        server.answer(load, (b"old", T0, None)), server.says("invalidateTransaction", T1, [OID_A])
    )
    assert client.cached(OID_A) is None
    assert client.cached(OID_A, T1) == (b"old", T0, T1)


def test_invalidation_before_a_load_reply_leaves_the_new_record(
    client: Client, server: PuppetServer
) -> None:
    client.load(OID_A)
    load = server.next("loadBefore")
    server.deliver(
        server.says("invalidateTransaction", T1, [OID_A]), server.answer(load, (b"new", T1, None))
    )
    assert client.cached(OID_A) == (b"new", T1, None)


def test_record_that_was_superseded_while_it_was_read_is_not_current(
    client: Client, server: PuppetServer
) -> None:
    client.load(OID_A, tid=T1)
    load = server.next("loadBefore")
    server.deliver(
        server.says("invalidateTransaction", T1, [OID_A]), server.answer(load, (b"old", T0, T1))
    )
    assert client.cached(OID_A) is None
    assert client.cached(OID_A, T1) == (b"old", T0, T1)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7])
def test_order_does_not_depend_on_how_the_bytes_arrive(
    client: Client, server: PuppetServer, step: int
) -> None:
    client.load(OID_A, OID_B)
    first, second = server.next("loadBefore"), server.next("loadBefore")
    stream = b"".join(
        [
            server.answer(first, (b"a0", T0, None)),
            server.says("invalidateTransaction", T1, [OID_A, OID_B]),
            server.answer(second, (b"b1", T1, None)),
            server.says("invalidateTransaction", T2, [OID_B]),
        ]
    )
    for start in range(0, len(stream), step):
        server.deliver(stream[start : start + step])
    assert client.cached(OID_A) is None
    assert client.cached(OID_B) is None
    assert client.cached(OID_B, T2) == (b"b1", T1, T2)
    assert client.storage.lastTransaction() == T2


# Rule 3: what arrives between the registration and the end of verification waits.


def reconnect(client: Client, server: PuppetServer) -> PuppetServer:
    # It has been there for a while; a server that comes and goes is given a pause.
    client.reactor.advance(30)
    server.lose()
    client.reactor.advance(0)
    return client.accept()


def test_invalidations_during_verification_are_applied_after_it(
    client: Client, server: PuppetServer
) -> None:
    client.load(OID_A, OID_B)
    server.deliver(
        server.answer(server.next("loadBefore"), (b"a0", T0, None)),
        server.answer(server.next("loadBefore"), (b"b0", T0, None)),
    )
    server = reconnect(client, server)
    # Registered as of T1, and T3 is committed before the client has verified.
    server.deliver(
        server.answer(server.next("register"), T1),
        server.says("invalidateTransaction", T3, [OID_B]),
    )
    assert client.storage.lastTransaction() == T0, "moved before the cache was verified"
    assert client.cached(OID_B) == (b"b0", T0, None)
    verify = server.next("getInvalidations")
    assert verify.args == (T0,)
    client.database.heard.clear()
    server.deliver(
        server.says("invalidateTransaction", T2, [OID_A]), server.answer(verify, (T2, [OID_A]))
    )
    # T2 is part of the replay, T3 is later.
    assert client.database.heard == [(T2, {OID_A}), (T3, {OID_B})]
    assert client.storage.lastTransaction() == T3
    assert client.cached(OID_A) is None and client.cached(OID_B) is None


def test_what_is_a_part_of_the_verification_is_told_once(
    client: Client, server: PuppetServer
) -> None:
    """A server of ZEO may send an invalidation after the answer that it is a part of."""
    server = reconnect(client, server)
    server.deliver(server.answer(server.next("register"), T2))
    verify = server.next("getInvalidations")
    client.database.heard.clear()
    server.deliver(
        server.answer(verify, (T2, [OID_A, OID_B])),
        server.says("invalidateTransaction", T1, [OID_A]),
        server.says("invalidateTransaction", T2, [OID_B]),
        server.says("invalidateTransaction", T3, [OID_A]),
    )
    assert client.database.heard == [(T2, {OID_A, OID_B}), (T3, {OID_A})]
    assert client.storage.lastTransaction() == T3
    # From now on, nothing is skipped.
    server.deliver(server.says("invalidateTransaction", T2, [OID_B]))
    assert client.database.heard[2:] == [(T2, {OID_B})]


def test_invalidation_behind_the_registration_is_not_lost(client: Client) -> None:
    server = client.accept()
    server.deliver(
        server.answer(server.next("register"), T0),
        server.says("invalidateTransaction", T1, [OID_A]),
    )
    assert client.storage.lastTransaction() == T1
    assert client.database.heard[-1] == (T1, {OID_A})


def test_cache_remembers_that_it_was_verified(client: Client, server: PuppetServer) -> None:
    """The next verification begins where this one ended."""
    server = reconnect(client, server)
    server.deliver(server.answer(server.next("register"), T2))
    server.deliver(server.answer(server.next("getInvalidations"), (T2, [])))
    server.deliver(server.answer(server.next("get_info"), {}))
    server = reconnect(client, server)
    server.deliver(server.answer(server.next("register"), T3))
    assert server.next("getInvalidations").args == (T2,)


@pytest.mark.parametrize("missed", [[OID_A, OID_B], OID_B + OID_A + OID_B])
def test_verification_understands_both_forms_of_what_was_missed(
    client: Client, server: PuppetServer, missed: Any
) -> None:
    client.load(OID_A)
    server.deliver(server.answer(server.next("loadBefore"), (b"a0", T0, None)))
    server = reconnect(client, server)
    server.deliver(server.answer(server.next("register"), T2))
    server.deliver(server.answer(server.next("getInvalidations"), (T2, missed)))
    assert client.cached(OID_A) is None
    assert client.database.heard[-1] == (T2, {OID_A, OID_B})
    assert client.storage.lastTransaction() == T2


def test_too_long_away_means_that_anything_may_have_changed(
    client: Client, server: PuppetServer
) -> None:
    client.load(OID_A)
    server.deliver(server.answer(server.next("loadBefore"), (b"a0", T0, None)))
    server = reconnect(client, server)
    server.deliver(server.answer(server.next("register"), T2))
    server.deliver(server.answer(server.next("getInvalidations"), None))
    assert client.cached(OID_A) is None
    assert client.database.heard[-1] == "everything"
    assert client.storage.lastTransaction() == T2


@pytest.mark.parametrize(
    "answer", [T1, (T1,), (1, []), (b"short", []), (T1, [b"short"]), (T1, b"short")]
)
def test_verification_checks_what_it_is_told(
    client: Client, server: PuppetServer, answer: Any
) -> None:
    server = reconnect(client, server)
    server.deliver(server.answer(server.next("register"), T2))
    server.deliver(server.answer(server.next("getInvalidations"), answer))
    assert client.storage._link.connection.state is State.PAUSING
    assert client.storage.lastTransaction() == T0


@pytest.mark.parametrize("answer", [1, b"short", "a tid"])
def test_registration_checks_what_it_is_told(
    client: Client, server: PuppetServer, answer: Any
) -> None:
    server = reconnect(client, server)
    server.deliver(server.answer(server.next("register"), answer))
    assert client.storage._link.connection.state is State.PAUSING
    assert client.storage.lastTransaction() == T0


def test_what_goes_wrong_in_a_verification_is_logged(
    client: Client, server: PuppetServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no fault of the server's."""

    def fail(tid: bytes, oids: Any) -> None:
        raise ZeroDivisionError

    server = reconnect(client, server)
    client.database.invalidate = fail  # type: ignore[method-assign]
    server.deliver(server.answer(server.next("register"), T2))
    server.deliver(server.answer(server.next("getInvalidations"), (T2, [OID_A])))
    assert client.storage._link.connection.state is State.PAUSING
    assert client.storage.lastTransaction() == T0
    assert any(record.exc_info for record in caplog.records)


# Rule 4: the last transaction moves after the database has been told, and all at once.


def test_last_transaction_moves_only_after_the_database_was_told(
    client: Client, server: PuppetServer
) -> None:
    client.load(OID_A, OID_B)
    server.deliver(
        server.answer(server.next("loadBefore"), (b"a0", T0, None)),
        server.answer(server.next("loadBefore"), (b"b0", T0, None)),
    )
    seen: list[Any] = []
    others: list[Any] = []

    def on_invalidate(tid: bytes, oids: Any) -> None:
        seen.append(client.storage.lastTransaction())
        # Another thread must not get in between.
        others.append(in_thread(lambda: (client.storage.lastTransaction(), client.cached(OID_B))))
        others[-1][0].join(0.1)
        assert others[-1][1] == [], "another thread saw half a transaction"

    client.database.on_invalidate = on_invalidate
    server.deliver(server.says("invalidateTransaction", T1, [OID_A, OID_B]))
    assert seen == [T0]
    thread, result = others[0]
    thread.join(5)
    assert result == [(T1, None)]


def test_database_is_told_of_objects_that_the_cache_does_not_have(
    client: Client, server: PuppetServer
) -> None:
    """An application may load the revision before, for a transaction that began earlier."""
    adapter = MVCCAdapter(client.storage)
    connection = adapter.new_instance()
    connection.poll_invalidations()
    server.deliver(server.says("invalidateTransaction", T1, [OID_A, OID_B]))
    thread, loaded = in_thread(connection.load, OID_A)
    load = wait_for_call(server, "loadBefore")
    server.deliver(server.answer(load, (b"old", T0, T1)))
    thread.join(5)
    assert loaded == [(b"old", T0)]
    # Its next transaction must not go on with that.
    assert OID_A in connection.poll_invalidations()


def test_commit_is_seen_as_a_whole(client: Client, server: PuppetServer) -> None:
    storage = client.storage
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(OID_A, b"\0" * 8, b"mine", "", txn)
    thread, voted = in_thread(storage.tpc_vote, txn)
    wait_for_call(server, "tpc_begin")
    server.next("storea")
    server.deliver(server.answer(server.next("vote"), []))
    thread.join(5)
    assert voted == [None]
    seen: list[Any] = []

    def callback(tid: bytes) -> None:
        other, result = in_thread(lambda: (storage.lastTransaction(), client.cached(OID_A)))
        other.join(0.1)
        seen.append((tid, list(result), other, result))

    thread, finished = in_thread(storage.tpc_finish, txn, callback)
    finish = wait_for_call(server, "tpc_finish")
    # The answer and the next client's transaction arrive together.
    server.deliver(server.answer(finish, T1), server.says("invalidateTransaction", T2, [OID_A]))
    thread.join(5)
    assert finished == [T1]
    ((tid, before, other, result),) = seen
    assert tid == T1
    assert before == [], "another thread saw half a commit"
    other.join(5)
    assert result[0][0] in (T1, T2)
    assert client.cached(OID_A, T2) == (b"mine", T1, T2)
    assert storage.lastTransaction() == T2


@pytest.mark.parametrize("deleted", [False, True])
def test_object_stored_twice_is_cached_as_it_was_stored_last(
    client: Client, server: PuppetServer, deleted: bool
) -> None:
    storage = client.storage
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(OID_A, b"\0" * 8, b"first", "", txn)
    if deleted:
        storage.deleteObject(OID_A, b"\0" * 8, txn)
    else:
        storage.store(OID_A, b"\0" * 8, b"second", "", txn)
    thread, _ = in_thread(storage.tpc_vote, txn)
    wait_for_call(server, "tpc_begin")
    for _ in range(2):
        server._calls.pop(0)
    server.deliver(server.answer(server.next("vote"), []))
    thread.join(5)
    thread, finished = in_thread(storage.tpc_finish, txn)
    server.deliver(server.answer(wait_for_call(server, "tpc_finish"), T1))
    thread.join(5)
    assert finished == [T1]
    assert client.cached(OID_A) == (None if deleted else (b"second", T1, None))


def test_last_transaction_never_goes_back(client: Client, server: PuppetServer) -> None:
    """Somebody may copy older transactions into the database."""
    server.deliver(
        server.says("invalidateTransaction", T2, [OID_A]),
        server.says("invalidateTransaction", T1, [OID_B]),
    )
    assert client.storage.lastTransaction() == T2


def test_server_that_comes_and_goes_is_given_a_pause(client: Client, server: PuppetServer) -> None:
    pauses = []
    for _ in range(4):
        server.lose()
        (retry,) = [
            call for call in client.reactor.getDelayedCalls() if "_try_again" in str(call.func)
        ]
        pauses.append(retry.getTime() - client.reactor.seconds())
        client.reactor.advance(pauses[-1])
        server = client.accept().establish(T0)
    # Up to a second of chance is added to each but the first.
    assert pauses[0] == 0 < 0.5 < pauses[1] < 1.75 and pauses[3] > 1.5
    client.reactor.advance(10)
    server.lose()
    client.reactor.advance(0)
    client.accept()


# Rule 7: a lost connection poisons the open transaction.


def test_transaction_does_not_survive_its_connection(client: Client, server: PuppetServer) -> None:
    storage = client.storage
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(OID_A, b"\0" * 8, b"one", "", txn)
    server = reconnect(client, server).establish(T0)
    for step in (
        lambda: storage.store(OID_B, b"\0" * 8, b"two", "", txn),
        lambda: storage.tpc_vote(txn),
        lambda: storage.tpc_finish(txn),
    ):
        thread, result = in_thread(step)
        thread.join(5)
        assert isinstance(result[0], ClientDisconnected)
    assert server.calls() == []
    thread, result = in_thread(storage.tpc_abort, txn)
    thread.join(5)
    assert result == [None]
    with pytest.raises(StorageTransactionError):
        storage.tpc_vote(txn)
    again = TransactionMetaData()
    storage.tpc_begin(again)
    assert storage.tpc_transaction() is again


def test_who_waits_for_an_answer_hears_of_the_loss(client: Client, server: PuppetServer) -> None:
    thread, result = in_thread(client.storage.loadSerial, OID_A, T0)
    wait_for_call(server, "loadSerial")
    server.lose()
    thread.join(5)
    assert isinstance(result[0], ClientDisconnected)


# Rule 8: an exception in the receive path ends the connection.


@pytest.mark.parametrize(
    "what", ["invalidation", "garbage", "unasked answer", "unknown call", "bad push"]
)
def test_no_call_survives_a_broken_connection(
    client: Client, server: PuppetServer, what: str
) -> None:
    thread, result = in_thread(client.storage.loadSerial, OID_A, T0)
    load = wait_for_call(server, "loadSerial")
    if what == "invalidation":

        def fail(tid: bytes, oids: Any) -> None:
            raise RuntimeError("the database fails")

        client.database.on_invalidate = fail
        frame = server.says("invalidateTransaction", T1, [OID_A])
    elif what == "garbage":
        frame = b"\0\0\0\x04\xff\xff\xff\xff"
    elif what == "unasked answer":
        frame = server._session.reply(999, None)
    elif what == "bad push":
        frame = server.says("invalidateTransaction", T1, [b"short"])
    else:
        frame = server.says("no_such_call")
    server.deliver(frame, server.answer(load, b"data"))
    assert server.transport.disconnected
    thread.join(5)
    assert isinstance(result[0], ClientDisconnected), "the call survived"
    if what == "bad push":
        assert "invalidateTransaction: oids was expected" in str(result[0])
    assert client.storage.lastTransaction() == T0


def test_failing_callback_of_a_commit_ends_the_connection(
    client: Client, server: PuppetServer
) -> None:
    storage = client.storage
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    thread, _ = in_thread(storage.tpc_vote, txn)
    wait_for_call(server, "tpc_begin")
    server.deliver(server.answer(server.next("vote"), []))
    thread.join(5)

    def callback(tid: bytes) -> None:
        raise RuntimeError("the application fails")

    thread, finished = in_thread(storage.tpc_finish, txn, callback)
    server.deliver(server.answer(wait_for_call(server, "tpc_finish"), T1))
    thread.join(5)
    assert isinstance(finished[0], RuntimeError)
    assert server.transport.disconnected
    # The next verification has to go back to before that transaction.
    assert storage.lastTransaction() == T0


def test_whichever_server_tells_first_is_believed() -> None:
    """The server that takes changes is a little later to tell than the one that it replaces."""
    client = Client([("127.0.0.1", 1), ("127.0.0.1", 2)], read_only_fallback=True)
    reader = client.accept()
    reader.deliver(reader.refusal(reader.next("register"), ReadOnlyError()))
    reader.deliver(reader.answer(reader.next("register"), T0))
    client.reactor.pump([0.25] * 5)
    reader.deliver(reader.answer(reader.next("get_info"), INFO))
    assert client.storage.is_read_only()
    thread, results = in_thread(client.storage.loadBefore, OID_A, T1)
    load = wait_for_call(reader, "loadBefore")
    client.reactor.tcpClients.clear()
    client.reactor.advance(5)
    writer = client.accept()
    writer.deliver(writer.answer(writer.next("register"), T0))
    # The load is the last thing for which the reader is needed.
    reader.deliver(
        reader.says("invalidateTransaction", T1, [OID_B]),
        reader.answer(load, (b"data", T0, None)),
    )
    thread.join(5)
    assert results == [(b"data", T0, None)]
    writer.deliver(
        writer.says("invalidateTransaction", T1, [OID_B]),
        writer.answer(writer.next("ping"), None),
    )
    writer.deliver(writer.answer(writer.next("get_info"), INFO))
    assert client.storage._link.connection.state is State.READY
    assert client.database.heard == [(T0, set()), (T1, {OID_B})]
    assert client.cached(OID_A) == (b"data", T0, None)
