"""Where the storage meets threads, signals, child processes, and the end of a process."""

from __future__ import annotations

import signal
import time

import pytest
from twisted.internet.threads import blockingCallFromThread
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

from zeotwisted import ClientStorage
from zeotwisted.exceptions import ClientStorageError
from zeotwisted.reactor.thread import ReactorThread

from .support import Script, World, store, wait_until

OID = p64(1)

OPEN = """
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64
from zeotwisted import ClientStorage
storage = ClientStorage(ADDRESS, wait_timeout=60, warm_start=False)
txn = TransactionMetaData()
"""


# Ctrl-C.


def _interrupt(script: Script) -> None:
    """Send Ctrl-C; the program must end at once, because of it."""
    assert script.line() == "waiting"
    script.process.send_signal(signal.SIGINT)
    assert script.line() == "KeyboardInterrupt"
    began = time.monotonic()
    code, output, errors = script.end()
    assert time.monotonic() - began < 5
    assert (code, output, errors) == (0, "", "")


def _interrupted(call: str) -> str:
    return f"""
began = time.monotonic()
try:
    {call}
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
"""


def _check_free(world: World, address: object) -> None:
    """Nothing of a client that is gone is in the way of another one."""
    storage = world.client(address)
    wait_until("the other is gone", lambda: storage.server_status()["connections"] == 1)
    # The storage aborts its transaction in a thread.
    wait_until("the lock is free", lambda: storage.server_status()["lock_time"] is None)
    store(storage, p64(77), b"data")


def test_interrupted_load(world: World) -> None:
    server = world.server()
    store(world.client(server.address), OID, b"data")
    proxy = world.proxy(server)
    script = Script(
        OPEN
        + 'print("open", flush=True)\n'
        + "sys.stdin.readline()\n"
        + 'announce("loadBefore")\n'
        + _interrupted("storage.load(p64(1))"),
        proxy.address,
    )
    # The greeting and the verification pass; what is said to the load does not.
    assert script.line() == "open"
    proxy.hold()
    script.say()
    _interrupt(script)


def test_interrupted_tpc_begin(world: World) -> None:
    server = world.server()
    script = Script(
        OPEN
        + """
storage.tpc_begin(txn)
storage.store(p64(1), z64, b"data", "", txn)
storage.tpc_vote(txn)
announce("tpc_begin")
"""
        + _interrupted("storage.tpc_begin(TransactionMetaData())"),
        server.address,
    )
    _interrupt(script)
    _check_free(world, server.address)


def test_interrupted_vote(world: World) -> None:
    server = world.server()
    other = world.client(server.address)
    txn = TransactionMetaData()
    other.tpc_begin(txn)
    other.store(OID, z64, b"data", "", txn)
    other.tpc_vote(txn)
    script = Script(
        OPEN
        + """
storage.tpc_begin(txn)
storage.store(p64(2), z64, b"data", "", txn)
announce("vote")
"""
        + _interrupted("storage.tpc_vote(txn)"),
        server.address,
    )
    wait_until("the vote waits", lambda: other.server_status()["waiting"])
    _interrupt(script)
    other.tpc_finish(txn)
    other.close()
    _check_free(world, server.address)


def test_interrupted_constructor(world: World) -> None:
    stranger = world.stranger()
    script = Script(
        "from zeotwisted import ClientStorage\nannounce('__init__')\n"
        + _interrupted("ClientStorage(ADDRESS, wait_timeout=60)"),
        stranger.address,
    )
    _interrupt(script)


def test_interrupted_tpc_finish(world: World) -> None:
    """What the server commits all the same is taken note of, and the storage can be used on."""
    server = world.server()
    proxy = world.proxy(server)
    script = Script(
        OPEN
        + """
storage.tpc_begin(txn)
storage.store(p64(1), z64, b"old", "", txn)
storage.tpc_vote(txn)
tid = storage.tpc_finish(txn)
assert storage.load(p64(1)) == (b"old", tid)
txn = TransactionMetaData()
storage.tpc_begin(txn)
storage.store(p64(1), tid, b"new", "", txn)
storage.tpc_vote(txn)
print("voted", flush=True)
input()
announce("finish")
try:
    storage.tpc_finish(txn)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
announce("abort")
storage.tpc_abort(txn)
assert storage.load(p64(1))[0] == b"new"
txn = TransactionMetaData()
storage.tpc_begin(txn)
storage.store(p64(1), storage.load(p64(1))[1], b"newer", "", txn)
storage.tpc_vote(txn)
storage.tpc_finish(txn)
assert storage.load(p64(1))[0] == b"newer"
""",
        proxy.address,
    )
    assert script.line() == "voted"
    proxy.hold()
    script.say()
    assert proxy.held.wait(20)
    assert script.line() == "waiting"
    script.process.send_signal(signal.SIGINT)
    assert script.line() == "KeyboardInterrupt"
    assert script.line() == "waiting"
    proxy.release()
    assert script.succeed() == ""


# Child processes.

FORK = """
import traceback
from ZODB import DB
import transaction

db = DB(storage)

def write(key):
    with db.transaction() as connection:
        connection.root()[key] = os.getpid()

def keys():
    with db.transaction() as connection:
        return sorted(connection.root())

write("parent")
"""


def test_fork(world: World, package: str) -> None:
    server = world.server(package, threaded=False)
    script = Script(
        OPEN
        + FORK
        + """
from ZODB.POSException import ConflictError

transaction.begin()
connection = db.open()
connection.root()["open"] = 1
pid = os.fork()
if not pid:
    code = 1
    try:
        # The connection is the parent's.
        assert not storage.is_connected()
        assert keys() == ["parent"], keys()
        assert storage.is_connected(test=True)
        write("child")
        assert storage.load(z64)
        # What the parent has begun is not the child's.
        assert storage.tpc_transaction() is None
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
assert os.waitpid(pid, 0)[1] == 0
# Both have written to the root, and the parent is too late.
try:
    transaction.commit()
except ConflictError:
    print("conflict")
transaction.abort()
connection.close()
print(keys())
""",
        server.address,
    )
    assert script.succeed() == "conflict\n['child', 'parent']\n"


def test_fork_while_the_parent_goes_on(world: World, package: str) -> None:
    server = world.server(package, threaded=False)
    script = Script(
        OPEN
        + FORK
        + """
txn = TransactionMetaData()
storage.tpc_begin(txn)
storage.store(p64(50), z64, b"the parent's", "", txn)
pid = os.fork()
if not pid:
    code = 1
    try:
        assert storage.tpc_transaction() is None
        storage.tpc_abort(txn)
        assert keys() == ["parent"], keys()
        write("child")
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # As a child ends that knows nothing of its parent: with all that is done at exit.
        sys.exit(code)
assert os.waitpid(pid, 0)[1] == 0
# The same connection, and the same transaction, whatever the child has done.
storage.tpc_vote(txn)
storage.tpc_finish(txn)
assert storage.load(p64(50))[0] == b"the parent's"
storage.ping()
write("again")
assert keys() == ["again", "child", "parent"], keys()
print("done")
""",
        server.address,
    )
    assert script.succeed() == "done\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(world: World, tmp_path: object, method: str) -> None:
    server = world.server(threaded=False)
    program = tmp_path / "program.py"  # type: ignore[operator]
    program.write_text(
        f"""
import multiprocessing
import transaction
import zeotwisted

ADDRESS = {server.address!r}
db = None


def work(key):
    global db
    own = db is None
    if own:
        db = zeotwisted.DB(ADDRESS)
    for _ in range(50):
        try:
            with db.transaction() as connection:
                connection.root()[key] = key
            break
        except transaction.interfaces.TransientError:
            pass
    if own:
        db.close()


if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    db = zeotwisted.DB(ADDRESS)  # ZODB cannot create a database in two processes at a time.
    if {method!r} == "spawn":
        db.close()
        db = None
    children = [context.Process(target=work, args=(str(n),)) for n in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0, child.exitcode
    db = db or zeotwisted.DB(ADDRESS)
    db.storage.ping()  # The news of the last commit may still be on its way.
    with db.transaction() as connection:
        assert sorted(connection.root()) == ["0", "1", "2"]
    print("done")
"""
    )
    script = Script(f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')")
    if method == "spawn":
        # A child that is spawned runs the main module again, so it must be a file.
        script.process.kill()
        script.process.communicate()
        script = Script(
            "import subprocess\n"
            f"raise SystemExit(subprocess.call([sys.executable, {str(program)!r}]))"
        )
    assert script.succeed() == "done\n"


def test_inherited_iterator_says_that_it_cannot(world: World) -> None:
    server = world.server(threaded=False)
    script = Script(
        OPEN
        + FORK
        + """
from zeotwisted.exceptions import ClientDisconnected
iterator = storage.iterator()
next(iterator)
pid = os.fork()
if not pid:
    code = 1
    try:
        next(iterator)
    except ClientDisconnected as error:
        assert "parent" in str(error), error
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
assert os.waitpid(pid, 0)[1] == 0
assert len(list(iterator)) == 1
""",
        server.address,
    )
    assert script.succeed() == ""


def test_many_forks_under_load(world: World) -> None:
    """A fork may come while other threads hold any lock."""
    server = world.server(threaded=False)
    script = Script(
        OPEN
        + FORK
        + """
going = True

def load():
    while going:
        storage.getTid(z64)
        storage.prefetch([z64], p64(2**62))

threads = [threading.Thread(target=load) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(10):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            assert storage.load(z64)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
going = False
for thread in threads:
    thread.join()
""",
        server.address,
    )
    assert script.succeed() == ""


# The end of a process.


def test_exit_without_close(world: World) -> None:
    script = Script(OPEN, world.server().address)
    began = time.monotonic()
    assert script.succeed() == ""
    assert time.monotonic() - began < 10


def test_exit_while_a_thread_loads(world: World) -> None:
    server = world.server()
    store(world.client(server.address), OID, b"data")
    proxy = world.proxy(server)
    script = Script(
        OPEN
        + """
from zeotwisted.exceptions import ClientDisconnected

print("open", flush=True)

def load():
    while True:
        try:
            storage.getTid(p64(1))
        except ClientDisconnected:
            pass

threading.Thread(target=load, daemon=True).start()
sys.stdin.readline()
""",
        proxy.address,
    )
    assert script.line() == "open"
    proxy.hold()
    assert proxy.held.wait(20)
    began = time.monotonic()
    # Its input is at an end: so is its main thread.
    assert script.end()[0] == 0
    assert time.monotonic() - began < 5


def test_exit_while_connecting(world: World) -> None:
    stranger = world.stranger()
    script = Script(
        "from zeotwisted import ClientStorage\n"
        "storage = ClientStorage(ADDRESS, wait=False, wait_timeout=60)\n"
        "threading.Thread(target=storage.ping, daemon=True).start()\n",
        stranger.address,
    )
    assert script.end(10)[0] == 0


# Reactors.


def test_blocking_call_in_the_private_reactor(world: World) -> None:
    storage = world.client(world.server().address)
    reactor = storage._link.thread.reactor
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for call in (
        lambda: storage.load(OID),
        storage.new_oid,
        storage.ping,
        storage.iterator,
        lambda: storage.tpc_begin(TransactionMetaData()),
        lambda: storage.tpc_vote(txn),
    ):
        with pytest.raises(ClientStorageError, match="reactor's own thread"):
            blockingCallFromThread(reactor, call)
    storage.tpc_abort(txn)
    storage.ping()


def test_reactor_of_the_application(world: World) -> None:
    server = world.server()
    thread = ReactorThread("the application's reactor")
    thread.start()
    world.callback(thread.stop)
    storage = world.client(server.address, reactor=thread.reactor)
    store(storage, OID, b"data")
    with pytest.raises(ClientStorageError, match="reactor's own thread"):
        blockingCallFromThread(thread.reactor, storage.getTid, OID)
    storage.close()
    # It is not ours to stop.
    assert thread.is_running()


def test_reactor_of_the_application_in_its_thread(world: World) -> None:
    """Constructor and close do not wait in the reactor's thread, if they are told not to."""
    server = world.server()
    thread = ReactorThread("the application's reactor")
    thread.start()
    world.callback(thread.stop)

    def make() -> ClientStorage:
        return ClientStorage(server.address, wait=False, reactor=thread.reactor)

    storage = blockingCallFromThread(thread.reactor, make)
    store(storage, OID, b"data")
    blockingCallFromThread(thread.reactor, storage.close)
    assert not storage.is_connected()


NO_GLOBAL_REACTOR = """
assert "twisted.internet.reactor" not in sys.modules, "a global reactor is installed"
"""

USE = """
storage.tpc_begin(txn)
storage.store(p64(os.getpid()), z64, b"data", "", txn)
storage.tpc_vote(txn)
storage.tpc_finish(txn)
assert storage.load(p64(os.getpid()))
storage.close()
"""


def test_no_global_reactor(world: World) -> None:
    address = world.server().address
    for where in (address, ("localhost", address[1])):
        Script(OPEN + USE + NO_GLOBAL_REACTOR, where).succeed()


def test_asyncio_application(world: World) -> None:
    script = Script(
        """
import asyncio
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64
from zeotwisted import ClientStorage

def use():
    txn = TransactionMetaData()
    storage = ClientStorage(ADDRESS)
    storage.tpc_begin(txn)
    storage.store(p64(1), z64, b"data", "", txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    storage.close()

async def main():
    # In the loop's own thread, too: the storage's reactor is another one.
    use()
    ticks = asyncio.create_task(asyncio.sleep(0.01, "the loop goes on"))
    await asyncio.to_thread(ClientStorage(ADDRESS).load, p64(1))
    print(await ticks)

asyncio.run(main())
"""
        + NO_GLOBAL_REACTOR,
        world.server().address,
    )
    assert script.succeed() == "the loop goes on\n"


def test_twisted_application(world: World) -> None:
    """Beside the installed reactor, in its thread and in others."""
    script = Script(
        """
from twisted.internet import reactor, task, threads
"""
        + OPEN
        + """
async def main(reactor):
    assert storage._link.thread.reactor is not reactor
    storage.ping()
    await threads.deferToThread(storage.ping)
    storage.close()
    print("done")

task.react(main)
""",
        world.server().address,
    )
    assert script.succeed() == "done\n"


def test_installed_reactor_for_the_storage(world: World) -> None:
    script = Script(
        """
from twisted.internet import reactor, threads
from zeotwisted import ClientStorage
from zeotwisted.exceptions import ClientStorageError

storage = ClientStorage(ADDRESS, reactor=reactor, wait=False)

def wrong():
    try:
        storage.ping()
    except ClientStorageError as error:
        assert "reactor's own thread" in str(error)
        print("refused")
    try:
        ClientStorage(ADDRESS, reactor=reactor)
    except ClientStorageError as error:
        assert "reactor's own thread" in str(error)
        print("refused")

def done(result):
    assert result is None, result
    wrong()
    storage.close()
    reactor.stop()

reactor.callWhenRunning(wrong)
reactor.callWhenRunning(lambda: threads.deferToThread(storage.ping).addBoth(done))
reactor.run()
""",
        world.server().address,
    )
    assert script.succeed() == "refused\n" * 4


def test_fork_beside_a_closed_storage(world: World) -> None:
    """One that cannot be used any more must not keep the others from being used."""
    server = world.server(threaded=False)
    script = Script(
        f"""
import os
import zeotwisted

storages = [zeotwisted.ClientStorage({server.address!r}) for _ in range(4)]
storages[1].close()
for _ in range(5):
    pid = os.fork()
    if not pid:
        for number in (0, 2, 3):
            storages[number].ping()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
for number in (0, 2, 3):
    storages[number].close()
print("done")
"""
    )
    assert script.succeed() == "done\n"
