"""Blobs of our client: what applications see, and what is left when something breaks."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZEO
import ZODB.config
from ZODB import DB
from ZODB.blob import Blob
from ZODB.Connection import TransactionMetaData
from ZODB.interfaces import IBlobStorage
from ZODB.POSException import POSKeyError, Unsupported
from ZODB.utils import p64, z64

from zeotwisted import ClientStorage

from ..support import InThread, Script, Server, World, wait_until

CONTENT = os.urandom(1_000_003)


@pytest.fixture
def server(world: World, tmp_path: Path, package: str) -> Server:
    return blob_server(world, tmp_path, package)


def blob_server(world: World, tmp_path: Path, package: str = "zeotwisted", *options: str) -> Server:
    section = f"""\
<blobstorage>
 blob-dir {tmp_path / "server-blobs"}
 <filestorage>
  path {tmp_path / "Data.fs"}
 </filestorage>
</blobstorage>
"""
    return world.server(package, *options, storage=section)


def store_blob(
    storage: Any, folder: Path, content: bytes = CONTENT, oid: bytes = p64(1), serial: bytes = z64
) -> bytes:
    """Commit one blob; return the tid."""
    file = folder / f"new-{os.urandom(4).hex()}"
    file.write_bytes(content)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    try:
        storage.storeBlob(oid, serial, b"record", str(file), "", txn)
        storage.tpc_vote(txn)
        return storage.tpc_finish(txn)
    except BaseException:
        storage.tpc_abort(txn)
        raise


def files(folder: Path) -> list[Path]:
    """Return what is in a cache, apart from its locks and its marker."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name not in (".lock", ".layout")
    ]


def blobs_size(folder: Path) -> int:
    """Return how many bytes of blobs are in a cache, while others may remove them."""
    size = 0
    for blob in folder.rglob("*.blob"):
        with suppress(FileNotFoundError):
            size += blob.stat().st_size
    return size


def test_up_and_down(world: World, server: Server, tmp_path: Path) -> None:
    one = world.client(server.address, blob_dir=str(tmp_path / "one"))
    tid = store_blob(one, tmp_path)
    assert Path(one.loadBlob(p64(1), tid)).read_bytes() == CONTENT
    # The second has to get it from the server.
    two = world.client(server.address, blob_dir=str(tmp_path / "two"))
    assert IBlobStorage.providedBy(two)
    with two.openCommittedBlobFile(p64(1), tid) as file:
        assert file.read() == CONTENT
    (blob,) = files(tmp_path / "two")
    assert not blob.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    assert one.load(p64(1)) == two.load(p64(1)) == (b"record", tid)


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_who_may_read_the_folder_may_read_its_blobs(
    world: World, server: Server, tmp_path: Path, mode: int
) -> None:
    tids = []
    for name in ("stored", "loaded"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
        client = world.client(server.address, blob_dir=str(tmp_path / name))
        tids = tids or [store_blob(client, tmp_path)]
        path = client.loadBlob(p64(1), tids[0])
        assert stat.S_IMODE(os.stat(path).st_mode) == mode & 0o444


@pytest.mark.parametrize("size", [0, 1, 59000, 2**18, 2**22 + 1])
def test_sizes(world: World, server: Server, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    one = world.client(server.address, blob_dir=str(tmp_path / "one"))
    tid = store_blob(one, tmp_path, content)
    two = world.client(server.address, blob_dir=str(tmp_path / "two"))
    assert Path(two.loadBlob(p64(1), tid)).read_bytes() == content


def test_a_blob_that_is_not_there(world: World, server: Server, tmp_path: Path) -> None:
    storage = world.client(server.address, blob_dir=str(tmp_path / "cache"))
    with pytest.raises(POSKeyError):
        storage.loadBlob(p64(7), p64(7))
    storage.ping()
    assert files(tmp_path / "cache") == []


def test_clients_share_a_cache(world: World, server: Server, tmp_path: Path) -> None:
    folder = str(tmp_path / "cache")
    ours = world.client(server.address, blob_dir=folder)
    stock = ZEO.client(server.address, blob_dir=folder)
    world.callback(stock.close)
    tid = store_blob(ours, tmp_path)
    name = ours.loadBlob(p64(1), tid)
    assert stock.loadBlob(p64(1), tid) == name
    tid = store_blob(stock, tmp_path, oid=p64(2))
    name = stock.loadBlob(p64(2), tid)
    inode = os.stat(name).st_ino
    assert ours.loadBlob(p64(2), tid) == name
    assert os.stat(name).st_ino == inode


def test_threads_that_want_the_same_blob(world: World, tmp_path: Path) -> None:
    server = blob_server(world, tmp_path)
    tid = store_blob(world.client(server.address, blob_dir=str(tmp_path / "one")), tmp_path)
    proxy = world.proxy(server)
    storage = world.client(proxy.address, blob_dir=str(tmp_path / "two"))
    proxy.hold()
    loads = [InThread(storage.loadBlob, p64(1), tid) for _ in range(5)]
    assert proxy.held.wait(20)
    proxy.release()
    assert len({load.result() for load in loads}) == 1
    assert proxy.sent.count(b"sendBlob") == 1


def test_several_blobs_in_a_transaction(world: World, server: Server, tmp_path: Path) -> None:
    storage = world.client(server.address, blob_dir=str(tmp_path / "one"))
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for number in range(5):
        file = tmp_path / f"new{number}"
        file.write_bytes(b"%d" % number * 1000)
        storage.storeBlob(p64(number + 1), z64, b"record", str(file), "", txn)
        assert not file.exists()
    storage.tpc_vote(txn)
    tid = storage.tpc_finish(txn)
    two = world.client(server.address, blob_dir=str(tmp_path / "two"))
    for number in range(5):
        assert Path(two.loadBlob(p64(number + 1), tid)).read_bytes() == b"%d" % number * 1000


def test_abort_leaves_nothing(world: World, tmp_path: Path) -> None:
    server = blob_server(world, tmp_path)
    storage = world.client(server.address, blob_dir=str(tmp_path / "cache"))
    before = files(tmp_path / "server-blobs")
    for _ in range(2):
        (tmp_path / "new").write_bytes(CONTENT)
        txn = TransactionMetaData()
        storage.tpc_begin(txn)
        storage.storeBlob(p64(1), z64, b"record", str(tmp_path / "new"), "", txn)
        storage.tpc_abort(txn)
    assert files(tmp_path / "cache") == []
    assert files(tmp_path / "server-blobs") == before


def test_without_a_folder(world: World, server: Server, tmp_path: Path) -> None:
    storage = world.client(server.address)
    assert not IBlobStorage.providedBy(storage)
    for call in (
        lambda: storage.loadBlob(z64, z64),
        lambda: storage.openCommittedBlobFile(z64, z64),
        storage.temporaryDirectory,
    ):
        with pytest.raises(Unsupported, match="blob_dir"):
            call()
    with pytest.raises(Unsupported, match="blob_dir"):
        store_blob(storage, tmp_path)
    storage.ping()


def test_a_server_without_blobs(world: World, tmp_path: Path) -> None:
    storage = world.client(world.server().address, blob_dir=str(tmp_path / "cache"))
    with pytest.raises(Unsupported, match="no blob directory"):
        store_blob(storage, tmp_path)
    with pytest.raises(Unsupported, match="no blob directory"):
        storage.loadBlob(p64(1), p64(1))
    assert files(tmp_path / "cache") == []


# The folder.


@pytest.mark.parametrize("layout", ["bushy", "lawn", None])
def test_the_servers_folder_is_no_cache(tmp_path: Path, layout: str | None) -> None:
    (tmp_path / "0x00").mkdir()
    if layout is not None:
        (tmp_path / ".layout").write_text(layout)
    with pytest.raises(ValueError, match=r"server's blob directory .* shared_blob_dir"):
        ClientStorage(1, blob_dir=str(tmp_path), wait=False)


@pytest.mark.parametrize("layout", ["zeocache", None, "missing"])
def test_a_cache_is_not_the_servers_folder(tmp_path: Path, layout: str | None) -> None:
    folder = tmp_path / "blobs"
    if layout != "missing":
        folder.mkdir()
        if layout is not None:
            (folder / ".layout").write_text(layout)
    with pytest.raises(ValueError, match="not the server's"):
        ClientStorage(1, blob_dir=str(folder), shared_blob_dir=True, wait=False)


def test_shared_folder(world: World, server: Server, tmp_path: Path) -> None:
    folder = str(tmp_path / "server-blobs")
    storage = world.client(server.address, blob_dir=folder, shared_blob_dir=True)
    before = len(files(tmp_path / "server-blobs"))
    tid = store_blob(storage, tmp_path)
    assert Path(storage.loadBlob(p64(1), tid)).read_bytes() == CONTENT
    assert len(files(tmp_path / "server-blobs")) == before + 1
    with pytest.raises(POSKeyError):
        storage.loadBlob(p64(1), p64(7))


def test_in_an_application(world: World, server: Server, tmp_path: Path) -> None:
    db = DB(world.client(server.address, blob_dir=str(tmp_path / "cache")))
    world.callback(db.close)
    with db.transaction() as connection:
        connection.root.blob = Blob(CONTENT)
    transaction.begin()
    connection = db.open()
    with connection.root.blob.open() as file:
        assert file.read() == CONTENT
    connection.close()


@pytest.mark.parametrize("shared", [False, True])
def test_configured(world: World, server: Server, tmp_path: Path, shared: bool) -> None:
    folder = tmp_path / ("server-blobs" if shared else "cache")
    host, port = server.address
    storage = ZODB.config.storageFromString(
        f"""\
%import zeotwisted
<clientstorage>
 server {host}:{port}
 blob-dir {folder}
 shared-blob-dir {shared}
 blob-cache-size 1MB
 blob-cache-size-check 20
</clientstorage>
"""
    )
    world.callback(storage.close)
    tid = store_blob(storage, tmp_path)
    assert Path(storage.loadBlob(p64(1), tid)).is_relative_to(folder)
    assert Path(storage.loadBlob(p64(1), tid)).read_bytes() == CONTENT


_OURS = """
    from zeotwisted import ClientStorage
    storage = ClientStorage(ADDRESS, blob_dir={folder!r}, blob_cache_size={limit})
    storage._blobs._cleaner._in_use = 0.1
"""
_STOCK = """
    from ZEO.ClientStorage import ClientStorage
    storage = ClientStorage(ADDRESS, blob_dir={folder!r}, blob_cache_size={limit})
"""
_READING = """
    print("connected", flush=True)
    sys.stdin.readline()
    for turn in range(60):
        number = turn * {step} % 20
        with storage.openCommittedBlobFile((number + 1).to_bytes(8, "big"), {tid!r}) as file:
            assert file.read() == b"%d" % number * 10_000
    print("done", flush=True)
    sys.stdin.readline()
    storage.close()
"""


@pytest.mark.parametrize("other", [_OURS, _STOCK], ids=["ours", "ZEO's"])
def test_processes_share_a_cache_that_is_too_small(
    world: World, tmp_path: Path, other: str
) -> None:
    server = blob_server(world, tmp_path)
    storage = world.client(server.address, blob_dir=str(tmp_path / "one"))
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for number in range(20):
        (tmp_path / "new").write_bytes(b"%d" % number * 10_000)
        storage.storeBlob(p64(number + 1), z64, b"record", str(tmp_path / "new"), "", txn)
    storage.tpc_vote(txn)
    tid = storage.tpc_finish(txn)
    cache = tmp_path / "cache"
    limit = 50_000
    scripts = [
        Script(
            (opening + _READING).format(folder=str(cache), limit=limit, step=step, tid=tid),
            server.address,
        )
        for opening, step in ((_OURS, 1), (other, 7))
    ]
    for script in scripts:
        assert script.line() == "connected"
    for script in scripts:
        script.say()
    for script in scripts:
        assert script.line() == "done"
    wait_until(
        "the cache is small again",
        lambda: blobs_size(cache) <= limit,
    )
    for script in scripts:
        script.say()
        script.succeed()


_BRIEF = """
    import os, signal
    from zeotwisted import ClientStorage
    storage = ClientStorage(ADDRESS, blob_dir={folder!r}, blob_cache_size={limit})
    for number in {numbers!r}:
        with storage.openCommittedBlobFile(number.to_bytes(8, "big"), {tid!r}) as file:
            assert len(file.read()) == 10_000
    {end}
"""
_ENDS = {
    "closed": "storage.close()",
    "not closed": "",
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.parametrize("limit", [0, 5_000, 50_000])
@pytest.mark.parametrize("end", _ENDS)
def test_processes_that_live_briefly(world: World, tmp_path: Path, end: str, limit: int) -> None:
    server = blob_server(world, tmp_path)
    storage = world.client(server.address, blob_dir=str(tmp_path / "one"))
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for number in range(1, 13):
        (tmp_path / "new").write_bytes(b"x" * 10_000)
        storage.storeBlob(p64(number), z64, b"record", str(tmp_path / "new"), "", txn)
    storage.tpc_vote(txn)
    tid = storage.tpc_finish(txn)
    cache = tmp_path / "cache"
    for first in (1, 7):
        script = _BRIEF.format(
            folder=str(cache),
            limit=limit,
            numbers=list(range(first, first + 6)),
            tid=tid,
            end=_ENDS[end],
        )
        Script(script, server.address).end()
        if end == "killed":
            # The next one that comes finds it.
            world.client(server.address, blob_dir=str(cache), blob_cache_size=limit).close()
        assert blobs_size(cache) <= limit
