"""Blobs when something breaks in the middle: clients, daemons, connections, disks, peers."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

from zeotwisted.clientstorage.blobs.cache import TRANSFERS
from zeotwisted.exceptions import ClientDisconnected

from ..support import InThread, Script, World, wait_for_connection, wait_until
from .test_blobs import CONTENT, blob_server, files, store_blob

OID = p64(1)


class Chunks:
    """A blob's content that stops in the middle, and goes on when it is told."""

    def __init__(self, more: Callable[[], bytes]) -> None:
        self._chunks = [b"a first part", more, b"the rest", b""]

    def read(self, size: int) -> bytes:
        chunk = self._chunks.pop(0)
        return chunk() if callable(chunk) else chunk


class Scene:
    """A server with a blob, and a client on the other side of a proxy that has not got it yet."""

    def __init__(self, world: World, tmp_path: Path, package: str = "zeotwisted") -> None:
        self.server = blob_server(world, tmp_path, package)
        self.tid = store_blob(
            world.client(self.server.address, blob_dir=str(tmp_path / "one")), tmp_path
        )
        self.proxy = world.proxy(self.server)
        self.cache = tmp_path / "cache"
        self.storage = world.client(self.proxy.address, blob_dir=str(self.cache))

    def frame(self, name: str, *args: Any) -> bytes:
        """Return what the server would send."""
        return self.storage._link.connection.ready._session.oneway(name, *args)

    def half(self) -> bytes:
        return self.frame("receiveBlobStart", OID, self.tid) + self.frame(
            "receiveBlobChunk", OID, self.tid, CONTENT[:1000]
        )

    def load_half(self) -> InThread:
        """Return a load that has received a part of the blob."""
        self.proxy.hold()
        load = InThread(self.storage.loadBlob, OID, self.tid)
        assert self.proxy.held.wait(20)
        self.proxy.inject(self.half())
        wait_until("a part is there", lambda: sizes(self.cache / TRANSFERS) == [1000])
        return load


def sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in files(folder)]


@pytest.fixture
def scene(world: World, tmp_path: Path, package: str) -> Scene:
    return Scene(world, tmp_path, package)


def test_connection_lost_in_a_download(scene: Scene) -> None:
    load = scene.load_half()
    scene.proxy.drop()
    with pytest.raises(ClientDisconnected):
        load.result()
    assert files(scene.cache) == []
    scene.proxy.release()
    assert Path(scene.storage.loadBlob(OID, scene.tid)).read_bytes() == CONTENT


def test_closed_in_a_download(scene: Scene) -> None:
    load = scene.load_half()
    waiting = InThread(scene.storage.loadBlob, OID, scene.tid)
    wait_until("the second waits for the first", lambda: "lock" in waiting.stack)
    scene.storage.close()
    for call in (load, waiting):
        with pytest.raises(ClientDisconnected):
            call.result()
    assert files(scene.cache) == []


@pytest.mark.parametrize(
    "pushes",
    [
        [("receiveBlobStart", p64(2), None)],
        [("receiveBlobStart", OID, p64(7))],
        [("receiveBlobChunk", OID, p64(7), b"x")],
        [("receiveBlobStop", p64(2), None)],
        [("receiveBlobChunk", OID, None, b"x")],
        [("receiveBlobStop", OID, None)],
        [("receiveBlobStart", OID, None)] * 2,
        [
            ("receiveBlobStart", OID, None),
            ("receiveBlobStop", OID, None),
            ("receiveBlobChunk", OID, None, b"x"),
        ],
    ],
)
def test_what_nobody_asked_for(scene: Scene, pushes: list[tuple[Any, ...]]) -> None:
    scene.proxy.hold()
    load = InThread(scene.storage.loadBlob, OID, scene.tid)
    assert scene.proxy.held.wait(20)
    for name, oid, tid, *chunk in pushes:
        scene.proxy.inject(scene.frame(name, oid, tid or scene.tid, *chunk))
    with pytest.raises(ClientDisconnected, match="receiveBlob"):
        load.result()
    assert files(scene.cache) == []


def test_without_any_question(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    before = scene.storage._link.connection.ready
    scene.proxy.inject(scene.half())
    wait_for_connection(
        scene.storage,
        "there is another connection",
        lambda: scene.storage._link.connection.ready not in (None, before),
    )
    assert "the server sent receiveBlobStart" in caplog.text
    assert files(scene.cache) == []


_LOADING = """
    from zeotwisted import ClientStorage
    storage = ClientStorage(ADDRESS, blob_dir={folder!r}, warm_start=False)
    print("connected", flush=True)
    sys.stdin.readline()
    storage.loadBlob({oid!r}, {tid!r})
"""


def test_client_killed_in_a_download(world: World, scene: Scene) -> None:
    proxy = world.proxy(scene.server)
    script = Script(_LOADING.format(folder=str(scene.cache), oid=OID, tid=scene.tid), proxy.address)
    assert script.line() == "connected"
    proxy.hold()
    script.say()
    assert proxy.held.wait(20)
    proxy.inject(scene.half())
    wait_until("a part is there", lambda: sizes(scene.cache / TRANSFERS) == [1000])
    script.process.kill()
    assert script.end()[0] == -signal.SIGKILL
    # It is where nobody takes it for a blob, and the next one to come removes it.
    assert files(scene.cache) == files(scene.cache / TRANSFERS) != []
    world.client(scene.server.address, blob_dir=str(scene.cache))
    assert files(scene.cache) == []
    assert Path(scene.storage.loadBlob(OID, scene.tid)).read_bytes() == CONTENT


_UPLOADING = """
    from zeotwisted import ClientStorage
    from ZODB.Connection import TransactionMetaData
    storage = ClientStorage(ADDRESS, blob_dir={folder!r})

    class Half:
        sent = False
        def read(self, size):
            if self.sent:
                storage.ping()
                print("half", flush=True)
                time.sleep(60)
            self.sent = True
            return b"x" * 1000

    with open({new!r}, "wb") as file:
        file.write(b"y" * 1000)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.storeBlob({oid!r}, bytes(8), b"record", {new!r}, "", txn)
    storage._committing.transaction(txn).store_blob({oid!r}, bytes(8), b"record", Half())
"""


def test_client_killed_in_an_upload(world: World, tmp_path: Path) -> None:
    server = blob_server(world, tmp_path)
    other = world.client(server.address, blob_dir=str(tmp_path / "other"))
    before = files(tmp_path / "server-blobs")
    folder = tmp_path / "cache"
    script = Script(
        _UPLOADING.format(folder=str(folder), oid=OID, new=str(tmp_path / "new")), server.address
    )
    assert script.line() == "half"
    assert len(files(tmp_path / "server-blobs")) == len(before) + 2
    script.process.kill()
    script.end()
    # Its commit waits for whatever the daemon still has to do for the lost client.
    tid = store_blob(other, tmp_path)
    assert len(files(tmp_path / "server-blobs")) == len(before) + 1
    assert files(folder) == files(folder / TRANSFERS) != []
    storage = world.client(server.address, blob_dir=str(folder))
    assert Path(storage.loadBlob(OID, tid)).read_bytes() == CONTENT
    assert files(folder / TRANSFERS) == []


_DAEMON = """
    import json, zeotwisted
    address, stop = zeotwisted.server(
        path={folder!r} + "/Data.fs", blob_dir={folder!r} + "/server-blobs", port={port}
    )
    print(json.dumps(address), flush=True)
    sys.stdin.readline()
    stop()
"""


class Daemon:
    """A daemon that can be killed."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.script = Script(_DAEMON.format(folder=str(folder), port=port))

        host, port = json.loads(self.script.line())
        self.address = (host, port)

    def kill(self) -> None:
        self.script.process.kill()
        self.script.end()

    def stop(self) -> None:
        if self.script.process.poll() is None:
            self.script.say()
            self.script.end()


def test_daemon_killed_in_an_upload(world: World, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path)
    world.callback(daemon.kill)
    storage = world.client(daemon.address, blob_dir=str(tmp_path / "cache"))
    before = storage._link.connection.ready

    def more() -> bytes:
        daemon.kill()
        wait_for_connection(
            storage, "it is lost", lambda: storage._link.connection.ready is not before
        )
        return b"more"

    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    with pytest.raises(ClientDisconnected):
        storage._committing.transaction(txn).store_blob(OID, z64, b"record", Chunks(more))
    storage.tpc_abort(txn)
    daemon = Daemon(tmp_path, daemon.address[1])
    world.callback(daemon.stop)
    tid = store_blob(storage, tmp_path)
    os.remove(storage.loadBlob(OID, tid))
    assert Path(storage.loadBlob(OID, tid)).read_bytes() == CONTENT
    assert files(tmp_path / "cache" / TRANSFERS) == []


def test_upload_that_cannot_be_read_to_the_end(world: World, tmp_path: Path, package: str) -> None:
    server = blob_server(world, tmp_path, package)
    storage = world.client(server.address, blob_dir=str(tmp_path / "cache"))

    def fail() -> bytes:
        raise OSError(errno.EIO, "the disk is broken")

    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    with pytest.raises(OSError, match="the disk is broken"):
        storage._committing.transaction(txn).store_blob(OID, z64, b"record", Chunks(fail))
    with pytest.raises(ClientDisconnected):
        storage.tpc_vote(txn)
    storage.tpc_abort(txn)
    tid = store_blob(storage, tmp_path)
    assert Path(storage.loadBlob(OID, tid)).read_bytes() == CONTENT


def test_source_that_is_not_there(world: World, tmp_path: Path, package: str) -> None:
    server = blob_server(world, tmp_path, package)
    storage = world.client(server.address, blob_dir=str(tmp_path / "cache"))
    before = storage._link.connection.ready
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    with pytest.raises(FileNotFoundError):
        storage.storeBlob(OID, z64, b"record", str(tmp_path / "missing"), "", txn)
    storage.tpc_abort(txn)
    store_blob(storage, tmp_path)
    assert storage._link.connection.ready is before
    assert files(tmp_path / "cache" / TRANSFERS) == []


# What a disk does that is full. (It takes no more than a certain size of each file.)

_NO_ROOM = """
    import resource
    from zeotwisted import ClientStorage
    storage = ClientStorage(ADDRESS, blob_dir={folder!r})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    connection = storage._link.connection.ready
    try:
        storage.loadBlob({oid!r}, {tid!r})
    except OSError as error:
        print(error, flush=True)
    storage.ping()
    assert storage._link.connection.ready is connection
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    print(os.path.getsize(storage.loadBlob({oid!r}, {tid!r})), flush=True)
    storage.close()
"""


def test_no_room_in_the_cache(scene: Scene) -> None:
    output = Script(
        _NO_ROOM.format(folder=str(scene.cache), oid=OID, tid=scene.tid), scene.server.address
    ).succeed()
    error, size = output.splitlines()
    assert "keeping a blob" in error and str(scene.cache) in error
    assert int(size) == len(CONTENT)


_DAEMON_WITHOUT_ROOM = """
    import json, resource, zeotwisted
    address, stop = zeotwisted.server(
        path={folder!r} + "/Data.fs", blob_dir={folder!r} + "/server-blobs"
    )
    print(json.dumps(address), flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    sys.stdin.readline()
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    print("room", flush=True)
    sys.stdin.readline()
    stop()
"""


def test_no_room_at_the_server(world: World, tmp_path: Path) -> None:

    script = Script(_DAEMON_WITHOUT_ROOM.format(folder=str(tmp_path)))
    world.callback(script.process.kill)
    storage = world.client(tuple(json.loads(script.line())), blob_dir=str(tmp_path / "cache"))
    before = files(tmp_path / "server-blobs")
    connection = storage._link.connection.ready
    with pytest.raises(Exception, match="File too large"):
        store_blob(storage, tmp_path)
    assert files(tmp_path / "server-blobs") == before
    script.say()
    assert script.line() == "room"
    store_blob(storage, tmp_path)
    assert storage._link.connection.ready is connection
    script.say()
    script.end()


_FORKING = """
    from zeotwisted import ClientStorage
    storage = ClientStorage(ADDRESS, blob_dir={folder!r})
    seen, say = os.pipe()
    child = os.fork()
    name = storage.loadBlob({oid!r}, {tid!r})
    assert os.path.getsize(name) == {size}
    if child:
        os.write(say, b"seen")
    else:
        # Not while the parent is about to look at it.
        os.read(seen, 4)
        os.remove(name)
        storage.loadBlob({oid!r}, {tid!r})
        storage.close()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    storage.close()
"""


def test_fork(scene: Scene) -> None:
    Script(
        _FORKING.format(folder=str(scene.cache), oid=OID, tid=scene.tid, size=len(CONTENT)),
        scene.server.address,
    ).succeed()


def test_fork_in_a_download(scene: Scene) -> None:
    """The child's copies of the parent's locks must not outlive the download."""
    program = """
    from zeotwisted import ClientStorage
    storage = ClientStorage(ADDRESS, blob_dir={folder!r})
    path = storage._blobs._cache.path({oid!r}, {tid!r})
    lock = storage._blobs._cache.lock(path)
    child = os.fork()
    if not child:
        sys.stdin.readline()
        os._exit(0)
    storage._blobs._cache.unlock(lock)
    storage.loadBlob({oid!r}, {tid!r})
    storage.close()
    print("done", flush=True)
    os.waitpid(child, 0)
    """
    script = Script(
        program.format(folder=str(scene.cache), oid=OID, tid=scene.tid), scene.server.address
    )
    assert script.line() == "done"
    script.say()
    script.succeed()
