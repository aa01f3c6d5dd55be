"""Blobs at the server: of stock clients, and of peers that do as they like."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZEO
from ZODB.blob import Blob
from ZODB.POSException import StorageTransactionError
from ZODB.utils import z64

import zeotwisted
from tests.clientstorage.support import wait_until

from .conftest import RawClient

CONTENT = os.urandom(1_000_003)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def address(serve: Callable[..., Any], tmp_path: Path, blobs: Path) -> Any:
    return serve(str(tmp_path / "Data.fs"), blob_dir=str(blobs))


@pytest.mark.parametrize("shared", [True, False])
def test_stock_clients(address: Any, tmp_path: Path, blobs: Path, shared: bool) -> None:
    folders = [str(blobs)] * 2 if shared else [str(tmp_path / "one"), str(tmp_path / "two")]
    one, two = (ZEO.DB(address, blob_dir=folder, shared_blob_dir=shared) for folder in folders)
    connection = one.open()
    for number in range(3):
        connection.root()[number] = Blob(CONTENT + b"%d" % number)
    transaction.commit()
    connection.close()
    # The news of the commit may still be on its way.
    two.storage.ping()
    connection = two.open()
    for number in range(3):
        with connection.root()[number].open("r") as file:
            assert file.read() == CONTENT + b"%d" % number
    connection.close()
    one.close()
    two.close()


def test_nothing_is_left_of_a_lost_upload(address: Any, blobs: Path) -> None:
    before = files(blobs)
    peer = RawClient(address)
    peer.ask("register", "1", False)
    send = peer.session.oneway
    peer.socket.sendall(send("tpc_begin", 1, "", "", {}))
    peer.socket.sendall(send("storeBlobStart") + send("storeBlobChunk", CONTENT))
    peer.socket.sendall(send("storeBlobEnd", z64, z64, b"data", 1))
    peer.socket.sendall(send("storeBlobStart") + send("storeBlobChunk", CONTENT))
    peer.ask("ping")
    assert len(files(blobs)) == len(before) + 2
    peer.socket.sendall(b"\0\0\0\x01\xff")
    assert peer.is_dropped()
    db = zeotwisted.DB(address)
    # Its commit waits for whatever the daemon still has to do for the lost client.
    connection = db.open()
    connection.root()["x"] = 1
    transaction.commit()
    connection.close()
    db.close()
    assert len(files(blobs)) == len(before)


@pytest.mark.parametrize(
    "name",
    ["../x.tmp", "/etc/passwd.tmp", "x", "x.blob", ".tmp", "a\0.tmp", "../../x.tmp-", "x.tmp"],
)
def test_names_do_not_leave_the_blob_directory(address: Any, name: str) -> None:
    peer = RawClient(address)
    peer.ask("register", "1", False)
    peer.socket.sendall(peer.session.oneway("tpc_begin", 1, "", "", {}))
    peer.socket.sendall(peer.session.oneway("storeBlobShared", b"\0" * 8, z64, b"data", name, 1))
    with pytest.raises(StorageTransactionError, match="blob file"):
        peer.ask("vote", 1)


def test_link_is_no_blob(address: Any, tmp_path: Path, blobs: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    folder = blobs.joinpath(*["0x00"] * 8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link.tmp").symlink_to(secret)
    peer = RawClient(address)
    peer.ask("register", "1", False)
    peer.socket.sendall(peer.session.oneway("tpc_begin", 1, "", "", {}))
    peer.socket.sendall(
        peer.session.oneway("storeBlobShared", b"\0" * 8, z64, b"data", "link.tmp", 1)
    )
    with pytest.raises(StorageTransactionError, match="regular file"):
        peer.ask("vote", 1)
    assert secret.read_text() == "secret"


def test_storage_without_blobs(serve: Callable[..., Any]) -> None:
    peer = RawClient(serve())
    peer.ask("register", "1", False)
    with pytest.raises(Exception, match="no blob directory"):
        peer.ask("sendBlob", z64, z64)


def test_abort_ends_an_upload(address: Any, blobs: Path) -> None:
    before = files(blobs)
    peer = RawClient(address)
    peer.ask("register", "1", False)
    send = peer.session.oneway
    peer.socket.sendall(send("tpc_begin", 1, "", "", {}))
    peer.socket.sendall(send("storeBlobStart") + send("storeBlobChunk", CONTENT))
    peer.ask("tpc_abort", 1)
    assert files(blobs) == before
    peer.socket.sendall(send("tpc_begin", 2, "", "", {}))
    peer.socket.sendall(send("storeBlobStart") + send("storeBlobChunk", CONTENT))
    peer.socket.sendall(send("storeBlobEnd", b"\0" * 7 + b"\7", z64, b"data", 2))
    resolved = peer.ask("vote", 2)
    assert not resolved
    peer.ask("tpc_finish", 2)
    assert len(files(blobs)) == len(before) + 1


def test_files_of_blobs_that_nobody_takes(
    serve: Callable[..., Any], tmp_path: Path, blobs: Path
) -> None:
    """They are opened for each part, so that the descriptors last; other clients do not wait."""
    options = {"download_files": 2}
    address = serve(str(tmp_path / "Data.fs"), blob_dir=str(blobs), zeo_conf=options)
    db = zeotwisted.DB(address, blob_dir=str(tmp_path / "own"))
    with db.transaction() as connection:
        connection.root()["blob"] = blob = Blob(b"x" * 2**24)
    oid = blob._p_oid
    serial = db.storage.load(oid)[1]
    deaf = [RawClient(address) for _ in range(5)]
    for client in deaf:
        client.ask("register", "1", False)
        client.socket.sendall(client.session.call(2, "sendBlob", oid, serial))
        # The first part has come, so the file is open.
        assert client.receive()
    limits = db.storage.server_limits()["download-files"]
    assert (limits["used"], limits["peak"], limits["struck"]) == (2, 2, 3)
    other = zeotwisted.ClientStorage(address, blob_dir=str(tmp_path / "other"))
    assert Path(other.loadBlob(oid, serial)).stat().st_size == 2**24
    other.close()
    for client in deaf:
        client.close()
    wait_until(
        "the files are closed",
        lambda: db.storage.server_limits()["download-files"]["used"] == 0,
    )
    db.close()
