"""``zeotwisted backup`` with a server, while others write to it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZEO
import ZODB
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError

import zeotwisted
from tests.daemon.conftest import ANYWHERE, Running, daemon, folder, run
from zeotwisted.backup import ServerSource

from .conftest import Run, refused
from .databases import Database, contents

__all__ = ["daemon", "folder", "run"]

Daemon = Callable[..., Running]


def served(daemon: Daemon, database: Database) -> tuple[Running, str]:
    """Serve a database; return the daemon, and its address for the command."""
    running = daemon(*ANYWHERE, "--file", database.file, "--blob-dir", str(database.blobs))
    host, port = running.address
    return running, f"{host}:{port}"


def backed_up(command: Run, *arguments: object) -> str:
    code, printed, complaint = command("backup", *arguments)
    assert (code, complaint) == (0, ""), complaint
    return printed


def restored(command: Run, target: Path, place: Path, *options: str) -> list[Any]:
    code, _, complaint = command("restore", target, place, *options)
    assert (code, complaint) == (0, ""), complaint
    return contents(str(place / "Data.fs"), str(place / "blobs"))


class Writers:
    """Threads that count in two objects and a blob, in one transaction, until they are stopped.

    :ivar counted: an event for each number of commits that is waited for.
    """

    def __init__(self, address: Any, folder: Path) -> None:
        self._stop = threading.Event()
        self._condition = threading.Condition()
        self._count = 0
        self._errors: list[BaseException] = []
        self._database = zeotwisted.DB(address, wait_timeout=10, blob_dir=str(folder / "client"))
        with self._database.transaction() as connection:
            connection.root().update(first=0, second=0, blob=Blob(b"0"))
        self._threads = [threading.Thread(target=self._write) for _ in range(2)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._database.close()
        assert not self._errors

    def _write(self) -> None:
        try:
            manager = transaction.TransactionManager()
            connection = self._database.open(manager)
            while not self._stop.is_set():
                try:
                    with manager:
                        root = connection.root()
                        root["first"] += 1
                        root["second"] += 1
                        with root["blob"].open("w") as file:
                            file.write(b"%d" % root["first"])
                except ConflictError:
                    continue
                with self._condition:
                    self._count += 1
                    self._condition.notify_all()
            connection.close()
        except BaseException as error:
            self._errors.append(error)
            raise

    def wait(self, more: int = 20) -> None:
        """Wait until there were some more commits."""
        with self._condition:
            wanted = self._count + more
            assert self._condition.wait_for(lambda: self._count >= wanted, 60)


def check_state(folder: Path) -> int:
    """Check that all of a state is from one transaction; return the count."""
    storage = FileStorage(str(folder / "Data.fs"), blob_dir=str(folder / "blobs"))
    with closing(ZODB.DB(storage)) as database, database.transaction() as connection:
        root = connection.root()
        with root["blob"].open() as file:
            assert int(file.read()) == root["first"] == root["second"]
        count: int = root["first"]
    return count


def test_under_load(
    command: Run, daemon: Daemon, database: Database, target: Path, tmp_path: Path
) -> None:
    running, address = served(daemon, database)
    with Writers(running.address, tmp_path) as writers:
        for _ in range(4):
            writers.wait()
            backed_up(command, address, target)
    counts = []
    for number, piece in enumerate(_lasts(command, target)):
        place = tmp_path / f"state {number}"
        restored(command, target, place, "--until", piece)
        counts.append(check_state(place))
    assert counts == sorted(set(counts)) and len(counts) == 4
    assert "incremental" in backed_up(command, address, target)
    assert running.stop() == 0
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)
    assert (tmp_path / "new" / "Data.fs").read_bytes() == Path(database.file).read_bytes()


def _lasts(command: Run, target: Path) -> list[str]:
    listed = json.loads(command("backup", "--list", "--json", target)[1])
    return [piece["last"] for series in listed for piece in series]


def test_beside_a_server_under_load(
    command: Run, daemon: Daemon, database: Database, target: Path, tmp_path: Path
) -> None:
    running, _ = served(daemon, database)
    with Writers(running.address, tmp_path) as writers:
        for number in range(6):
            writers.wait(10)
            backed_up(command, *database.arguments, target)
            restored(command, target, tmp_path / str(number))
            check_state(tmp_path / str(number))
    assert running.stop() == 0
    backed_up(command, *database.arguments, target)
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)


def test_packs_under_load(
    command: Run, daemon: Daemon, database: Database, target: Path, tmp_path: Path
) -> None:
    running, address = served(daemon, database)
    with Writers(running.address, tmp_path) as writers:
        for number in range(4):
            writers.wait()
            backed_up(command, address, target)
            restored(command, target, tmp_path / str(number))
            check_state(tmp_path / str(number))
            writers.wait()
            with closing(zeotwisted.client(running.address)) as client:
                client.pack(wait=True)
    assert command("backup", "--verify", target)[0] == 0


@contextmanager
def at_blob(monkeypatch: pytest.MonkeyPatch, number: int, do: Callable[[], Any]) -> Iterator[None]:
    """Do something before a backup reads one of the blobs."""
    left = [number]
    real = ServerSource.open_blob

    def open_blob(self: ServerSource, oid: bytes, tid: bytes) -> Any:
        left[0] -= 1
        if not left[0]:
            do()
        return real(self, oid, tid)

    with monkeypatch.context() as patched:
        patched.setattr(ServerSource, "open_blob", open_blob)
        yield
    assert left[0] <= 0


def test_a_pack_while_it_is_read(
    command: Run,
    daemon: Daemon,
    database: Database,
    target: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running, address = served(daemon, database)

    def pack() -> None:
        with closing(zeotwisted.client(running.address)) as client:
            client.pack(wait=True)

    with at_blob(monkeypatch, 2, pack):
        printed = backed_up(command, address, target)
    assert "was packed while" in printed and "beginning this backup again" in printed
    assert running.stop() == 0
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)


def test_the_server_dies(
    command: Run,
    daemon: Daemon,
    database: Database,
    target: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running, address = served(daemon, database)
    backed_up(command, address, target)
    wanted = contents(database.file, database.blobs)
    before = sorted(target.rglob("*"))
    blob_dir = str(tmp_path / "client")
    opened = zeotwisted.DB(running.address, blob_dir=blob_dir)
    with closing(opened), opened.transaction() as connection:
        connection.root().update(one=Blob(b"1"), two=Blob(b"2"), three=Blob(b"3"))
    with at_blob(monkeypatch, 2, running.process.kill):
        refused(command("backup", address, target), address, "no connection", "again")
    assert sorted(target.rglob("*")) == before
    assert restored(command, target, tmp_path / "before") == wanted
    refused(command("backup", address, target), "Connection refused")
    running, address = served(daemon, database)
    assert "incremental" in backed_up(command, address, target)
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)


def test_a_server_of_zeo(command: Run, database: Database, target: Path, tmp_path: Path) -> None:
    for _ in range(2):
        (host, port), stop = ZEO.server(database.file, blob_dir=database.blobs)
        try:
            backed_up(command, f"{host}:{port}", target)
        finally:
            stop()
        database.change(5)
    with_all = [database.file, "--blobs", str(database.blobs)]
    assert "incremental" in backed_up(command, "--file", *with_all, target)
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)


def test_a_server_refuses(command: Run, daemon: Daemon, database: Database, target: Path) -> None:
    _, address = served(daemon, database)
    other = command("backup", "--storage", "other", address, target)
    refused(other, f"{address}: ", "unknown storage: 'other'", "check the address, --storage")
    refused(command("backup", "--ca", "nowhere.pem", address, target), "nowhere.pem")
    tls = command("backup", "--ca", database.file, address, target)
    refused(tls, database.file)
    assert "again" not in other[2] + tls[2]
    assert not target.exists()
    assert command("backup", "--list", target)[0] == 1


def test_with_tls(command: Run, database: Database, target: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert command("certs", "localhost", "--client", "me", "--folder", keys)[0] == 0
    conf = f"""
        <zeo>
          address 127.0.0.1:0
          <ssl>
            certificate {keys}/server.pem
            key {keys}/server.key
            authenticate {keys}/authority.pem
          </ssl>
        </zeo>
    """
    storage = f"""
        <filestorage 1>
          path {database.file}
          blob-dir {database.blobs}
        </filestorage>
    """
    (_, port), stop = zeotwisted.server(storage_conf=storage, zeo_conf=conf)
    address = f"localhost:{port}"
    own = ("--certificate", keys / "me.pem", "--key", keys / "me.key")
    options = ("--ca", keys / "authority.pem", *own)
    try:
        backed_up(command, *options, address, target)
        named = (*options, "--server-name", "other.example")
        for wrong in ((), options[:2], named):
            result = command("backup", "--timeout", "1", *wrong, address, target)
            refused(result, address, "TLS", "for TLS --ca")
            assert "again" not in result[2]
    finally:
        stop()
    assert restored(command, target, tmp_path / "new") == contents(database.file, database.blobs)
