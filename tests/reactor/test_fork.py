"""A storage that is opened in one process and used in its children."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clientstorage.support import Script, World, wait_until

OPEN = """
import transaction
from ZODB import DB
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, u64, z64
from zeotwisted import ClientStorage

def files():
    names = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            names.add((number, os.readlink(f"/proc/self/fd/{number}")))
        except OSError:
            pass  # the directory itself
    return names

before = files()
storage = ClientStorage(ADDRESS, wait_timeout=20)
# ZODB keeps the connection of a transaction that has failed.
db = DB(storage, pool_size=1000)

def in_child(function, *args, how=os._exit):
    "Call a function in a child process; return the child's process id."
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        function(*args)
        code = 0
    except Exception:
        import traceback
        traceback.print_exc()
    sys.stderr.flush()
    how(code)

def check(*pids):
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0

def add(key, times=1):
    for _ in range(times):
        while True:
            try:
                with db.transaction() as connection:
                    root = connection.root()
                    root[key] = root.get(key, 0) + 1
                break
            except transaction.interfaces.TransientError:
                pass

def read():
    storage.ping()  # The news of the last commit may still be on its way.
    with db.transaction() as connection:
        return dict(connection.root())
"""

CHILDREN = {
    "exit at once": "os._exit",
    "exit with all that is done at exit": "sys.exit",
}


@pytest.mark.parametrize("how", CHILDREN.values(), ids=CHILDREN)
def test_workers(world: World, how: str) -> None:
    """Several children at once, while the parent and its threads go on."""
    script = Script(
        OPEN
        + f"""
add("parent")
going = True

def load():
    while going:
        storage.getTid(z64)

def commit():
    while going:
        add("thread")

threads = [threading.Thread(target=load), threading.Thread(target=commit)]
for thread in threads:
    thread.start()

def work():
    # The connection that was open in the parent may be in the midst of something.
    storage.load(z64)
    for number in range(5):
        txn = TransactionMetaData()
        oid = storage.new_oid()
        storage.tpc_begin(txn)
        storage.store(oid, z64, b"the child's", "", txn)
        storage.tpc_vote(txn)
        storage.tpc_finish(txn)
        assert storage.load(oid)[0] == b"the child's"

children = [in_child(work, how={how}) for _ in range(4)]
check(*children)
going = False
for thread in threads:
    thread.join()
assert read()["parent"] == 1
print("done")
""",
        world.server(threaded=False).address,
    )
    assert script.succeed() == "done\n"


def test_database_is_inherited(world: World, package: str) -> None:
    """Objects and connections that were open in the parent can be used in the children."""
    script = Script(
        OPEN
        + """
add("parent")
connection = db.open()
assert connection.root()["parent"] == 1

def child():
    assert connection.root()["parent"] == 1
    transaction.begin()
    connection.root()["open"] = os.getpid()
    transaction.commit()
    add("count", 10)
    connection.close()
    db.close()

children = [in_child(child)]
check(*children)
children = [in_child(add, "count", 10, how=sys.exit) for _ in range(3)]
check(*children)
assert storage.is_connected()
transaction.begin()
assert connection.root()["open"]
assert read()["count"] == 40, read()
print("done")
""",
        world.server(package, threaded=False).address,
    )
    assert script.succeed() == "done\n"


def test_child_of_a_child(world: World) -> None:
    script = Script(
        OPEN
        + """
add("count")

def child():
    add("count")
    check(in_child(grandchild))
    add("count")

def grandchild():
    add("count")
    check(in_child(add, "count", how=sys.exit))

check(in_child(child, how=sys.exit))
# And one whose parent has never used the storage.
check(in_child(lambda: check(in_child(add, "count"))))
assert read()["count"] == 6, read()
print("done")
""",
        world.server(threaded=False).address,
    )
    assert script.succeed() == "done\n"


def test_files_of_the_parent_are_closed(world: World) -> None:
    """Else the server would not hear of the parent's end before that of its last child."""
    server = world.server(threaded=False)
    script = Script(
        OPEN
        + """
storage.ping()

def child():
    left = files() - before
    assert not left, left
    sys.stdin.readline()

pid = in_child(child)
storage.close()
print("closed", flush=True)
check(pid)
""",
        server.address,
    )
    observer = world.client(server.address)
    assert script.line() == "closed"
    wait_until("the parent is gone", lambda: observer.server_status()["connections"] == 1)
    script.say()
    assert script.succeed() == ""


def test_parent_is_killed(world: World) -> None:
    """Its children go on, and its commit lock is free."""
    server = world.server(threaded=False)
    script = Script(
        OPEN
        + """
txn = TransactionMetaData()
storage.tpc_begin(txn)
storage.store(p64(99), z64, b"never", "", txn)
storage.tpc_vote(txn)
parent = os.getpid()

def child():
    print("child", flush=True)
    sys.stdin.readline()
    add("child")
    assert read() == {"child": 1}
    print("done", flush=True)

if os.fork():
    time.sleep(60)
child()
os._exit(0)
""",
        server.address,
    )
    assert script.line() == "child"
    script.process.kill()
    script.process.wait()
    script.say()
    assert script.line() == "done"
    script.end()


@pytest.mark.parametrize("what", ["storage", "db"])
def test_closed_in_the_child(world: World, what: str) -> None:
    """The parent does not notice, whatever it is in the midst of."""
    script = Script(
        OPEN
        + f"""
add("parent")
txn = TransactionMetaData()
storage.tpc_begin(txn)
storage.store(p64(50), z64, b"the parent's", "", txn)
storage.tpc_vote(txn)
check(in_child({what}.close), in_child({what}.close, how=sys.exit))
storage.tpc_finish(txn)
assert storage.load(p64(50))[0] == b"the parent's"
assert read() == {{"parent": 1}}
print("done")
""",
        world.server(threaded=False).address,
    )
    assert script.succeed() == "done\n"


def test_fork_while_connecting(world: World) -> None:
    script = Script(
        OPEN
        + f"""
pending = ClientStorage({world.stranger().address!r}, wait=False)
"""
        + """
def child():
    storage.ping()
    pending.close()
    storage.close()

check(in_child(child), in_child(child, how=sys.exit))
began = time.monotonic()
pending.close()
storage.ping()
assert time.monotonic() - began < 5
print("done")
""",
        world.server(threaded=False).address,
    )
    assert script.succeed() == "done\n"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_pool(world: World, tmp_path: Path, method: str) -> None:
    """As `concurrent.futures` and `multiprocessing` start their workers."""
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import multiprocessing, os
from concurrent.futures import ProcessPoolExecutor
import zeotwisted

ADDRESS = {world.server(threaded=False).address!r}
db = None

def start():
    global db
    if db is None:
        db = zeotwisted.DB(ADDRESS)

def work(number):
    with db.transaction() as connection:
        return connection.root()["number"] * number

if __name__ == "__main__":
    start()
    with db.transaction() as connection:
        connection.root()["number"] = 7
    context = multiprocessing.get_context({method!r})
    with ProcessPoolExecutor(2, context, start) as pool:
        assert list(pool.map(work, range(10))) == [7 * n for n in range(10)]
    db.close()
    print("done")
"""
    )
    script = Script(
        "import subprocess\n"
        f"raise SystemExit(subprocess.call([sys.executable, '-W', 'ignore', {str(program)!r}]))"
    )
    assert script.succeed() == "done\n"
