"""A pack that is interrupted leaves the storage as it was."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from twisted.logger import LogLevel, capturedLogs, formatEvent
from ZODB.blob import Blob
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.format import FileStorageFormatter
from ZODB.POSException import StorageError

from tests.ordering.puppets import Server


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    """A storage with old revisions and garbage."""
    storage = FileStorage(str(tmp_path / "Data.fs"))
    database = ZODB.DB(storage)
    connection = database.open()
    for number in range(5):
        connection.root()["x"] = PersistentMapping({"n": number})
        transaction.commit()
    connection.close()
    yield storage
    database.close()


def test_interrupted(storage: Any, tmp_path: Path) -> None:
    server = Server(storage)
    client = server.client()
    before = (tmp_path / "Data.fs").read_bytes()
    server.slow.immediate = False
    pack = client.send("pack", time.time(), True)
    server.served.packs.interrupt()
    server.slow.work()
    ((_, id, error),) = client.received()
    assert (id, type(error)) == (pack, StorageError)
    assert "interrupted, because the server stops" in str(error)
    assert (tmp_path / "Data.fs").read_bytes() == before
    assert not [name for name in os.listdir(tmp_path) if "pack" in name or name.endswith(".old")]


def test_not_interrupted(storage: Any, tmp_path: Path) -> None:
    client = Server(storage).client()
    before = (tmp_path / "Data.fs").stat().st_size
    assert client.ask("pack", time.time(), True) is None
    assert (tmp_path / "Data.fs").stat().st_size < before


def test_one_at_a_time(storage: Any) -> None:
    """Thousands would wait in the daemon's memory, and take turns with all slow calls."""
    server = Server(storage)
    server.slow.immediate = False
    client, other = server.client(), server.client()
    pack = client.send("pack", time.time(), True)
    for waits in (True, False, False):
        again = other.send("pack", time.time(), waits)
        ((_, id, error),) = other.received()
        assert (id, type(error)) == (again, StorageError)
        assert str(error).startswith("storage '1' is being packed already, since 2")
    assert server.served.packs.report().running == 1
    server.slow.work()
    assert client.received()[0][1:] == (pack, None)
    assert other.send("pack", time.time(), False) and other.received()[0][2] is None
    assert server.served.packs.report().running == 1
    server.slow.work()
    assert server.served.packs.report().running == 0


def test_a_cancelled_pack_that_nobody_waits_for(storage: Any) -> None:
    server = Server(storage)
    server.slow.immediate = False
    client = server.client()
    client.send("pack", time.time(), False)
    with capturedLogs() as events:
        client.ask("cancel_pack")
        server.slow.work()
    said = [formatEvent(event) for event in events if event["log_level"] >= LogLevel.warn]
    assert len(said) == 1 and "is interrupted, because it was cancelled" in said[0]
    assert not any("log_failure" in event for event in events), "no traceback"


class Countdown:
    """Does something before a record is read whose number was given."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        self.last = 0
        self.act: Any = None
        read = FileStorageFormatter._read_data_header

        def counted(formatter: Any, *args: Any, **options: Any) -> Any:
            self.reads += 1
            if self.reads == self.last:
                self.act()
            return read(formatter, *args, **options)

        patch.setattr(FileStorageFormatter, "_read_data_header", counted)


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) - {"blobs"}


@pytest.fixture
def with_blobs(tmp_path: Path) -> Any:
    """A storage with two blobs, one of which is garbage, and a transaction after the pack time."""
    storage = FileStorage(str(tmp_path / "Data.fs"), blob_dir=str(tmp_path / "blobs"))
    database = ZODB.DB(storage)
    with database.transaction() as connection:
        connection.root()["garbage"] = Blob(b"old")
        connection.root()["blob"] = Blob(b"data")
    for number in range(3):
        with database.transaction() as connection:
            connection.root()["x"] = PersistentMapping({"n": number})
            connection.root().pop("garbage", None)
    now = time.time()
    while time.time() == now:
        pass
    yield storage, time.time()
    database.close()


def test_interrupted_anywhere(
    with_blobs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each record that the pack reads: the search, the copy, and what came later."""
    storage, now = with_blobs
    with ZODB.DB(storage).transaction() as connection:
        connection.root()["later"] = PersistentMapping()
    countdown = Countdown(monkeypatch)
    before = (tmp_path / "Data.fs").read_bytes()
    files = names(tmp_path)
    blobs = {path for path in (tmp_path / "blobs").rglob("*.blob")}
    interrupted = 0
    while True:
        server = Server(storage)
        countdown.reads, countdown.last = 0, interrupted + 1
        countdown.act = server.served.packs.interrupt
        client = server.client()
        pack = client.send("pack", now, True)
        (answer,) = [each for each in client.received() if each[1] == pack]
        if answer[2] is None:
            break
        interrupted += 1
        assert countdown.reads == countdown.last, "at once"
        assert "interrupted, because the server stops" in str(answer[2])
        assert (tmp_path / "Data.fs").read_bytes() == before
        assert names(tmp_path) == files
        assert {path for path in (tmp_path / "blobs").rglob("*.blob")} == blobs
        # Whoever commits next does not wait for ever.
        assert storage._commit_lock.acquire(blocking=False)
        storage._commit_lock.release()
        # Each server installs the packer anew, unless the storage has another one.
        del storage.packer
    assert interrupted == countdown.reads - 1 > 10, "it is too late after the last record only"
    assert len(set((tmp_path / "blobs").rglob("*.blob"))) == len(blobs) - 1
    assert (tmp_path / "Data.fs").stat().st_size < len(before)


def test_a_storage_that_another_one_wraps(storage: Any) -> None:
    Server(DemoStorage(changes=storage))
    assert storage.packer is not FileStorage.packer


def test_a_packer_of_the_application_is_kept(tmp_path: Path) -> None:
    def packer(*args: Any) -> None:
        raise AssertionError("not called")

    storage = FileStorage(str(tmp_path / "Data.fs"), packer=packer)
    (tmp_path / "Data.fs.pack").write_bytes(b"")
    Server(storage)
    assert storage.packer is packer
    assert (tmp_path / "Data.fs.pack").exists(), "it may continue what it has begun"
    storage.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_what_a_killed_pack_has_left(tmp_path: Path, read_only: bool) -> None:
    FileStorage(str(tmp_path / "Data.fs")).close()
    left = tmp_path / "Data.fs.pack"
    left.write_bytes(b"FS21 begun")
    storage = FileStorage(str(tmp_path / "Data.fs"), read_only=read_only)
    with capturedLogs() as events:
        Server(storage)
    storage.close()
    # A file that is read only may be open in another process, which packs it.
    assert left.exists() is read_only
    said = [each for each in map(formatEvent, events) if "Data.fs.pack" in each]
    assert said == (
        [] if read_only else [f"removed {left} (10 bytes), which a pack that was killed has left"]
    )


def test_what_cannot_be_removed(tmp_path: Path) -> None:
    (tmp_path / "Data.fs.pack").mkdir()
    storage = FileStorage(str(tmp_path / "Data.fs"))
    with capturedLogs() as events:
        Server(storage)
    storage.close()
    assert "remove it yourself" in "".join(map(formatEvent, events))
