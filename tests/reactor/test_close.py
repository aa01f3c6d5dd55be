"""`close` returns, whatever is under way, and leaves nothing behind."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.threads import blockingCallFromThread
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

from tests.clientstorage.support import InThread, Script, World, store, wait_until
from zeotwisted import ClientStorage
from zeotwisted.exceptions import ClientDisconnected
from zeotwisted.reactor import thread as reactorthread
from zeotwisted.reactor.thread import ReactorThread

#: How long (seconds) closing may take.
MOMENT = 4.0


def _close(storage: ClientStorage, *how: Callable[[], Any]) -> None:
    began = time.monotonic()
    for call in how or (storage.close,):
        call()
    assert time.monotonic() - began < MOMENT
    with pytest.raises(ClientDisconnected, match=r"closed|reactor"):
        storage.ping()


def _locked(world: World) -> tuple[Any, Any]:
    """Return a storage whose vote has to wait, and the call that does."""
    server = world.server()
    other = world.client(server.address)
    txn = TransactionMetaData()
    other.tpc_begin(txn)
    other.store(p64(1), z64, b"data", "", txn)
    other.tpc_vote(txn)
    storage = world.client(server.address)
    call = InThread(store, storage, p64(2), b"data")
    wait_until("the vote waits", lambda: other.server_status()["waiting"])
    return storage, call


def _vote(world: World) -> tuple[Any, Any]:
    return _locked(world)


def _tpc_begin(world: World) -> tuple[Any, Any]:
    storage = world.client(world.server().address)
    storage.tpc_begin(TransactionMetaData())
    call = InThread(storage.tpc_begin, TransactionMetaData())
    wait_until("it waits", lambda: "enter" in call.stack)
    return storage, call


def _load(world: World) -> tuple[Any, Any]:
    server = world.server()
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    proxy.hold()
    call = InThread(storage.loadBefore, z64, p64(2**62))
    assert proxy.held.wait(20)
    return storage, call


def _finish(world: World) -> tuple[Any, Any]:
    server = world.server()
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(p64(1), z64, b"data", "", txn)
    storage.tpc_vote(txn)
    proxy.hold()
    call = InThread(storage.tpc_finish, txn)
    assert proxy.held.wait(20)
    return storage, call


def _absent(world: World) -> tuple[Any, Any]:
    server = world.server()
    server.stop()
    storage = world.client(server.address, wait=False)
    call = InThread(storage.ping)
    wait_until("it waits", lambda: "wait" in call.stack)
    return storage, call


def _stranger(world: World) -> tuple[Any, Any]:
    storage = world.client(world.stranger().address, wait=False)
    call = InThread(storage.ping)
    wait_until("it waits", lambda: "wait" in call.stack)
    return storage, call


def _verifying(world: World) -> tuple[Any, Any]:
    server = world.server()
    proxy = world.proxy(server)
    storage = world.client(proxy.address)
    proxy.drop()
    proxy.hold()
    assert proxy.held.wait(20)
    call = InThread(storage.ping)
    wait_until("it waits", lambda: "wait" in call.stack)
    return storage, call


STATES = [_vote, _tpc_begin, _load, _finish, _absent, _stranger, _verifying]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__.strip("_"))
def test_while_another_thread_waits(
    world: World, state: Callable[[World], tuple[Any, Any]]
) -> None:
    storage, call = state(world)
    _close(storage)
    with pytest.raises(Exception):  # noqa: B017 - tpc_finish has an error of its own
        call.result(MOMENT)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__.strip("_"))
def test_in_the_reactors_thread(world: World, state: Callable[[World], tuple[Any, Any]]) -> None:
    storage, call = state(world)
    _close(storage, lambda: blockingCallFromThread(storage._link.thread.reactor, storage.close))
    with pytest.raises(Exception):  # noqa: B017 - tpc_finish has an error of its own
        call.result(MOMENT)


def test_twice_and_in_many_threads(world: World) -> None:
    server = world.server()
    for _ in range(5):
        storage = world.client(server.address)
        calls = [InThread(storage.close) for _ in range(10)]
        for call in calls:
            call.result(MOMENT)
        _close(storage)


def test_after_the_reactor_has_stopped(world: World) -> None:
    """Stopped by somebody who had no business to; the next storage gets another one."""
    server = world.server()
    storage = world.client(server.address)
    thread = storage._link.thread
    thread.stop()
    assert not storage.is_connected()
    with pytest.raises(ClientDisconnected, match="reactor"):
        storage.ping()
    another = world.client(server.address)
    _close(storage)
    another.ping()


def test_reactor_that_never_ran(world: World) -> None:
    """What was closed before its reactor started does not come back to life."""
    server = world.server()
    thread = ReactorThread("the application's reactor")
    storage = ClientStorage(server.address, wait=False, reactor=thread.reactor)
    _close(storage)
    thread.start()
    world.callback(thread.stop)
    blockingCallFromThread(thread.reactor, lambda: None)
    observer = world.client(server.address)
    wait_until("nobody else", lambda: observer.server_status()["connections"] == 1)


def test_by_the_garbage_collector(world: World) -> None:
    """It may run in the midst of the start of another storage, in the same thread."""

    class Owner:
        def __init__(self, storage: ClientStorage) -> None:
            self.storage = storage
            self.myself = self

        def __del__(self) -> None:
            self.storage.close()

    server = world.server()
    storage = ClientStorage(server.address)
    thread = storage._link.thread
    Owner(storage)
    with reactorthread._lock:
        gc.collect()
        assert storage._link.closed
        # Who holds the lock does what could not be done.
    another = world.client(server.address)
    another.ping()
    assert another._link.thread is thread
    assert reactorthread._users == 1


def test_by_a_signals_handler(world: World) -> None:
    script = Script(
        """
import signal
from zeotwisted import ClientStorage
from zeotwisted.exceptions import ClientDisconnected

storage = ClientStorage(ADDRESS, wait=False, wait_timeout=60)

def close(number, frame):
    began = time.monotonic()
    storage.close()
    assert time.monotonic() - began < 4
    print("closed", flush=True)

signal.signal(signal.SIGTERM, close)
announce("ping")
try:
    storage.ping()
except ClientDisconnected as error:
    print(error, flush=True)
""",
        world.stranger().address,
    )
    assert script.line() == "waiting"
    script.process.terminate()
    assert script.line() == "closed"
    assert script.line() == "the storage is closed"
    assert script.succeed() == ""


def test_at_exit(world: World) -> None:
    """Before and after our own farewell, and with a transaction that has voted."""
    script = Script(
        """
import atexit
late = []
atexit.register(lambda: late[0]())
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64
from zeotwisted import ClientStorage
from zeotwisted.exceptions import ClientDisconnected

first, second = ClientStorage(ADDRESS), ClientStorage(ADDRESS)
atexit.register(first.close)

def afterwards():
    try:
        second.ping()
    except ClientDisconnected:
        print("refused")
    second.close()

late.append(afterwards)
for storage in (first, second):
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(p64(1), z64, b"data", "", txn)
second.tpc_vote(txn)
""",
        world.server().address,
    )
    began = time.monotonic()
    assert script.succeed() == "refused\n"
    assert time.monotonic() - began < 10


def test_exit_by_a_signal(world: World) -> None:
    """As process supervisors end their children."""
    script = Script(
        """
import signal
from zeotwisted import ClientStorage

signal.signal(signal.SIGTERM, lambda *args: sys.exit(3))
storage = ClientStorage(ADDRESS, wait=False, wait_timeout=60)
announce("ping")
storage.ping()
""",
        world.stranger().address,
    )
    assert script.line() == "waiting"
    script.process.terminate()
    code, _, errors = script.end(MOMENT)
    assert (code, errors) == (3, "")


def test_nothing_is_left(world: World) -> None:
    """No thread, no file, no warning about either."""
    script = Script(
        """
import gc
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64
from zeotwisted import ClientStorage

unraisable = []
sys.unraisablehook = unraisable.append

def use():
    storage = ClientStorage(ADDRESS)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.store(storage.new_oid(), z64, b"data", "", txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    next(storage.iterator())
    storage.prefetch([p64(1), p64(2)], p64(2**62))
    other = ClientStorage(ADDRESS)
    other.ping()
    storage.close()
    other.close()

def left():
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count()

use()
once = left()
for _ in range(5):
    use()
assert left() == once, (left(), once)
assert once[1] == 1, threading.enumerate()
assert not unraisable, unraisable
print("done")
""",
        world.server().address,
        "-X",
        "dev",
        "-W",
        "error::ResourceWarning",
    )
    assert script.succeed() == "done\n"


def test_no_more_threads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reactor that cannot be started is not kept for others."""
    server = world.server()
    assert reactorthread._shared is None, "another test has left its storage open"

    def refuse(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            ClientStorage(server.address)
    world.client(server.address).ping()
