"""Beside gevent and eventlet, which replace threads by greenlets."""

from __future__ import annotations

import textwrap

import pytest

from tests.clientstorage.support import Script, World

pytest.importorskip("gevent", reason="gevent is not installed; it is in the extra `test`")

PATCH = """
from gevent import monkey
monkey.patch_all()
import gevent
"""

USE = """
import transaction
import zeotwisted
from zeotwisted.exceptions import ClientStorageError

db = zeotwisted.DB(ADDRESS)
db.setPoolSize(1000)  # ZODB keeps the connection of a transaction that has failed.

def add(key, times=1, pause=0):
    for _ in range(times):
        while True:
            try:
                with db.transaction() as connection:
                    root = connection.root()
                    root[key] = root.get(key, 0) + 1
                    gevent.sleep(pause)
                break
            except transaction.interfaces.TransientError:
                pass

def read():
    db.storage.ping()  # The news of the last commit may still be on its way.
    with db.transaction() as connection:
        return dict(connection.root())
"""


def test_greenlets(world: World, package: str) -> None:
    """Others go on while one waits, also for another one's transaction."""
    script = Script(
        PATCH
        + USE
        + """
ticks = 0

def tick():
    global ticks
    while True:
        gevent.sleep(0)
        ticks += 1

ticking = gevent.spawn(tick)
jobs = [gevent.spawn(add, str(number), 3, 0.001) for number in range(5)]
gevent.joinall(jobs)
for job in jobs:
    job.get()
assert read() == {str(number): 3 for number in range(5)}, read()
before = ticks
db.storage.ping()
assert ticks > before
# One that waits within its commit, and another one that wants to commit meanwhile.
storage = db.storage
from ZODB.Connection import TransactionMetaData
txn = TransactionMetaData()
storage.tpc_begin(txn)
other = gevent.spawn(add, "other")
gevent.sleep(0.05)
assert not other.ready()
storage.tpc_vote(txn)
storage.tpc_finish(txn)
other.get(timeout=10)
# Real threads are there, too.
assert gevent.get_hub().threadpool.apply(read)["other"] == 1
waiting = gevent.spawn(storage.tpc_begin, TransactionMetaData())
waiting.join()
began = time.monotonic()
db.close()
assert time.monotonic() - began < 4
print("done")
""",
        world.server(package, threaded=False).address,
    )
    assert script.succeed() == "done\n"


def test_names_are_looked_up(world: World) -> None:
    _, port = world.server(threaded=False).address
    script = Script(PATCH + USE + 'add("a")\nassert read() == {"a": 1}\n', ("localhost", port))
    assert script.succeed() == ""


def test_server_that_goes_away(world: World) -> None:
    """Whoever waits is told, and the connection is found again."""
    server = world.server(threaded=False)
    proxy = world.proxy(server)
    script = Script(
        PATCH
        + USE
        + """
from zeotwisted.exceptions import ClientDisconnected

def ping():
    try:
        db.storage.ping()
    except ClientDisconnected as error:
        return error

add("a")
print("ready", flush=True)
sys.stdin.readline()
waiting = [gevent.spawn(ping) for _ in range(5)]
gevent.sleep(0)
print("waiting", flush=True)
sys.stdin.readline()
for job in waiting:
    assert isinstance(job.get(timeout=10), ClientDisconnected)
add("a")
assert read() == {"a": 2}
""",
        proxy.address,
    )
    assert script.line() == "ready"
    proxy.hold()
    script.say()
    assert script.line() == "waiting"
    assert proxy.held.wait(20)
    proxy.drop()
    proxy.release()
    script.say()
    # It says in its log that it was disconnected.
    assert script.end()[0] == 0


def test_fork(world: World) -> None:
    """As workers of servers for WSGI applications are made."""
    script = Script(
        PATCH
        + USE
        + """
add("parent")

def work():
    jobs = [gevent.spawn(add, "child") for _ in range(3)]
    gevent.joinall(jobs)
    for job in jobs:
        job.get()
    # The parent's reactor, which is a greenlet of this process as well, has no say here.
    gevent.sleep(0.05)
    assert read()["parent"] == 1

children = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    children.append(pid)
add("parent")
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
assert read() == {"parent": 2, "child": 9}, read()
db.close()
print("done")
""".replace('["parent"] == 1', '["parent"] > 0'),
        world.server(threaded=False).address,
    )
    assert script.succeed() == "done\n"


def test_exit_without_close(world: World) -> None:
    Script(PATCH + USE + 'add("a")\n', world.server(threaded=False).address).succeed()


def _refused(world: World, first: str) -> str:
    script = Script(
        first
        + textwrap.dedent("""
            import zeotwisted
            from zeotwisted.exceptions import ClientStorageError
            try:
                zeotwisted.ClientStorage(ADDRESS)
            except ClientStorageError as error:
                print(error)
            """),
        world.server(threaded=False).address,
    )
    return script.succeed()


@pytest.mark.parametrize("what", ["zeotwisted.clientstorage", "twisted.internet.pollreactor"])
def test_too_late(world: World, what: str) -> None:
    assert _refused(world, f"import {what}\n{PATCH}") == (
        "gevent has replaced threads too late; call gevent.monkey.patch_all() before zeotwisted or "
        "Twisted is imported\n"
    )


@pytest.mark.parametrize("what", ["thread", "select"])
def test_half(world: World, what: str) -> None:
    assert _refused(world, PATCH.replace("all()", f"all({what}=False)")) == (
        "gevent has replaced only one of threads and select, and zeotwisted needs both or neither; "
        "call gevent.monkey.patch_all() without exceptions\n"
    )


def test_eventlet(world: World) -> None:
    """It is not maintained any more; a stand-in tells what it would."""
    pretence = """
import types
patcher = types.ModuleType("eventlet.patcher")
patcher.is_monkey_patched = lambda module: module == "thread"
sys.modules["eventlet.patcher"] = patcher
"""
    assert _refused(world, pretence) == (
        "zeotwisted does not work with eventlet's threads; use real ones, or gevent's\n"
    )


def test_unpatched(world: World) -> None:
    """Imported, or used for sockets alone: nothing is different."""
    for patch in ("", "from gevent import monkey\nmonkey.patch_socket()"):
        script = Script(
            f"{patch}\nimport gevent\n{USE}" + 'add("a")\nassert read()["a"]\ndb.close()\n',
            world.server(threaded=False).address,
        )
        assert script.succeed() == ""
