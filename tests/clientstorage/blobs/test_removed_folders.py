"""Folders and files that somebody removes while they are in use."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import transaction
from ZODB import DB
from ZODB.blob import Blob
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64

from zeotwisted.clientstorage.blobs.cache import TRANSFERS, BlobCache
from zeotwisted.clientstorage.blobs.downloads import Download
from zeotwisted.exceptions import ClientStorageError
from zeotwisted.files.folders import Folder

from ..support import InThread, World, store
from .test_blob_faults import OID
from .test_blobs import CONTENT, blob_server, store_blob

#: What is removed, below the folder of the test.
REMOVALS = {
    "transfers": "cache/transfers",
    "own transfers": "cache/transfers/tmp*",
    "locks of transfers": "cache/transfers/*.lock",
    "tmp": "cache/tmp",
    "layout folders": "cache/[0-9]*",
    "all locks": "cache/**/.lock",
    "marker": "cache/.layout",
    "the whole cache": "cache",
    "the server's tmp": "server-blobs/tmp",
}


def remove(root: Path, pattern: str) -> None:
    found = list(root.glob(pattern))
    for path in found:
        if path.is_dir():
            # At once: the cleaner may put something into it meanwhile.
            away = root / f"removed-{os.urandom(4).hex()}"
            path.rename(away)
            shutil.rmtree(away)
        else:
            path.unlink()


class Site:
    """A database with a blob, and a client that has done everything once."""

    def __init__(self, world: World, tmp_path: Path) -> None:
        self.server = blob_server(world, tmp_path)
        self.folder = tmp_path
        self.storage = world.client(
            self.server.address, blob_dir=str(tmp_path / "cache"), blob_cache_size=10**6
        )
        self.db = DB(self.storage)
        world.callback(self.db.close)
        self.manager = transaction.TransactionManager()
        self.connection = self.db.open(self.manager)
        self.root = self.connection.root()
        self.root["blob"] = Blob(CONTENT)
        self.manager.commit()
        other = world.client(self.server.address, blob_dir=str(tmp_path / "other"))
        self.tid = store_blob(other, tmp_path, b"first", oid=p64(100))
        self.tid2 = store_blob(other, tmp_path, b"second", oid=p64(101))
        self.storage.loadBlob(p64(100), self.tid)

    def load(self) -> None:
        """A blob that is not in the cache."""
        assert Path(self.storage.loadBlob(p64(101), self.tid2)).read_bytes() == b"second"

    def load_again(self) -> None:
        assert Path(self.storage.loadBlob(p64(100), self.tid)).read_bytes() == b"first"

    def read(self) -> None:
        with self.root["blob"].open() as file:
            assert file.read() == CONTENT

    def write(self) -> None:
        with self.root["blob"].open("w") as file:
            file.write(b"changed")
        self.manager.commit()
        with self.root["blob"].open() as file:
            assert file.read() == b"changed"

    def savepoint(self) -> None:
        self.root["new"] = Blob(b"new")
        self.manager.savepoint()
        self.manager.commit()
        with self.root["new"].open() as file:
            assert file.read() == b"new"

    def consume(self) -> None:
        source = self.folder / "to consume"
        source.write_bytes(b"consumed")
        self.root["blob"].consumeFile(str(source))
        self.manager.commit()
        with self.root["blob"].open() as file:
            assert file.read() == b"consumed"

    def store(self) -> None:
        store_blob(self.storage, self.folder, oid=p64(102))

    def undo(self) -> None:
        with self.root["blob"].open() as file:
            before = file.read()
        self.write()
        remove(self.folder, REMOVALS["the server's tmp"])
        self.db.undo(self.db.undoLog(0, 1)[0]["id"], self.manager.get())
        self.manager.commit()
        with self.root["blob"].open() as file:
            assert file.read() == before

    def clean(self) -> None:
        self.storage._blobs._cleaner.clean()


OPERATIONS: list[Callable[[Site], None]] = [
    Site.load,
    Site.load_again,
    Site.read,
    Site.write,
    Site.savepoint,
    Site.consume,
    Site.store,
    Site.undo,
    Site.clean,
]


@pytest.mark.parametrize("removal", REMOVALS.values(), ids=REMOVALS)
def test_everything_goes_on(world: World, tmp_path: Path, removal: str) -> None:
    site = Site(world, tmp_path)
    for operation in OPERATIONS:
        remove(tmp_path, removal)
        operation(site)
    # Another client, also one of ZEO's, sees what it is.
    assert (tmp_path / "cache" / ".layout").read_text() == "zeocache"
    BlobCache(str(tmp_path / "cache")).close()


@pytest.mark.parametrize("name", [TRANSFERS, "tmp"])
def test_permissions_are_those_that_were(world: World, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "cache" / name
    folder.mkdir(parents=True)
    folder.chmod(0o2770)
    site = Site(world, tmp_path)
    shutil.rmtree(folder)
    site.consume()
    site.savepoint()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o2770


def test_the_servers_folder_keeps_its_permissions(world: World, tmp_path: Path) -> None:
    (tmp_path / "server-blobs" / "tmp").mkdir(parents=True)
    (tmp_path / "server-blobs" / "tmp").chmod(0o2775)
    server = blob_server(world, tmp_path)
    storage = world.client(server.address, blob_dir=str(tmp_path / "cache"))
    shutil.rmtree(tmp_path / "server-blobs" / "tmp")
    store_blob(storage, tmp_path)
    assert stat.S_IMODE((tmp_path / "server-blobs" / "tmp").stat().st_mode) == 0o2775


def test_shared_folder(world: World, tmp_path: Path) -> None:
    server = blob_server(world, tmp_path)
    folder = tmp_path / "server-blobs"
    storage = world.client(server.address, blob_dir=str(folder), shared_blob_dir=True)
    store_blob(storage, tmp_path)
    shutil.rmtree(folder / "tmp")
    assert os.path.isdir(storage.temporaryDirectory())
    remove(folder, "0x00")
    tid = store_blob(storage, tmp_path, oid=p64(2))
    assert Path(storage.loadBlob(p64(2), tid)).read_bytes() == CONTENT


@pytest.mark.parametrize("removal", [REMOVALS["transfers"], REMOVALS["the whole cache"]])
def test_removed_in_the_midst_of_a_download(tmp_path: Path, removal: str) -> None:
    """Its content is complete all the same."""
    cache = BlobCache(str(tmp_path / "cache"))
    path = cache.path(OID, p64(1))
    download = Download(cache, path, cache.lock(path))
    download.receive("receiveBlobStart")
    download.receive("receiveBlobChunk", b"a part ")
    remove(tmp_path, removal)
    download.receive("receiveBlobChunk", b"and the rest")
    download.receive("receiveBlobStop")
    assert download.end(True) == len(b"a part and the rest")
    assert Path(path).read_bytes() == b"a part and the rest"
    assert stat.S_IMODE(os.stat(path).st_mode) & 0o222 == 0
    cache.close()


def test_removed_between_vote_and_finish(world: World, tmp_path: Path) -> None:
    """What is committed can be had from the server."""
    server = blob_server(world, tmp_path)
    storage = world.client(server.address, blob_dir=str(tmp_path / "cache"))
    source = tmp_path / "new"
    source.write_bytes(CONTENT)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.storeBlob(OID, bytes(8), b"record", str(source), "", txn)
    shutil.rmtree(tmp_path / "cache")
    storage.tpc_vote(txn)
    tid = storage.tpc_finish(txn)
    assert Path(storage.loadBlob(OID, tid)).read_bytes() == CONTENT


def test_what_the_server_has_received_is_removed(world: World, tmp_path: Path) -> None:
    """Nobody has its content any more, and the message says where it was."""
    server = blob_server(world, tmp_path)
    storage = world.client(server.address, blob_dir=str(tmp_path / "cache"))
    source = tmp_path / "new"
    source.write_bytes(CONTENT)
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    storage.storeBlob(OID, bytes(8), b"record", str(source), "", txn)
    storage.ping()
    shutil.rmtree(tmp_path / "server-blobs" / "tmp")
    with pytest.raises(Exception, match=r"server's folder .*server-blobs/tmp") as caught:
        storage.tpc_vote(txn)
    assert "\n" not in str(caught.value)
    storage.tpc_abort(txn)
    store_blob(storage, tmp_path)
    assert len(world.failures) == 1
    world.failures.clear()


def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(OSError, match="cannot be made; make it") as caught:
        Folder("/proc/zeotwisted/tmp").ensure()
    assert caught.value.filename == "/proc/zeotwisted/tmp"
    assert "\n" not in str(caught.value)


def test_a_file_in_the_place_of_the_folder(world: World, tmp_path: Path) -> None:
    site = Site(world, tmp_path)
    shutil.rmtree(tmp_path / "cache" / TRANSFERS)
    (tmp_path / "cache" / TRANSFERS).touch()
    with pytest.raises((OSError, ClientStorageError)) as caught:
        site.load()
    assert str(tmp_path / "cache" / TRANSFERS) in str(caught.value)
    (tmp_path / "cache" / TRANSFERS).unlink()
    site.load()


def test_transfers_whose_lock_was_removed_are_not_abandoned(tmp_path: Path) -> None:
    cache = BlobCache(str(tmp_path / "cache"))
    descriptor, name = cache.partial()
    os.close(descriptor)
    remove(tmp_path, REMOVALS["locks of transfers"])
    other = BlobCache(cache.folder)
    assert os.path.exists(name)
    # And the next one is protected as before.
    descriptor, name = cache.partial()
    os.close(descriptor)
    other.remove_abandoned()
    assert os.path.exists(name)
    other.close()
    cache.close()
    assert [path for path in Path(cache.folder, TRANSFERS).iterdir() if path.is_dir()] == []


def test_many_threads_make_it_again(world: World, tmp_path: Path) -> None:
    site = Site(world, tmp_path)
    shutil.rmtree(tmp_path / "cache")

    def consume(number: int) -> None:
        descriptor, name = site.storage._blobs._cache.partial()
        os.write(descriptor, b"%d" % number)
        os.close(descriptor)
        assert Path(name).read_bytes() == b"%d" % number

    for thread in [InThread(consume, number) for number in range(20)]:
        thread.result()


def test_records_in_a_file_whose_folder_is_removed(world: World, tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    storage = world.client(
        blob_server(world, tmp_path).address, client="c", var=str(tmp_path / "var")
    )
    tid = store(storage, p64(1), b"data")
    shutil.rmtree(tmp_path / "var")
    storage._cache.set_aside()
    assert os.listdir(tmp_path / "var") == ["c-1.zec"]
    assert storage.load(p64(1)) == (b"data", tid)
