"""What applications do through a host's daemon is as with the daemon that has the storage."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import transaction
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSKeyError
from ZODB.utils import maxtid, p64, z64

import zeotwisted

from . import site
from .site import Daemon
from .test_restarts import read, until, write

ROOT = Path(__file__).parent.parent.parent


def counted(address: Any) -> dict[str, int]:
    """Return the counters of the storage at a daemon."""
    # A warm start would load, and be counted.
    with closing(zeotwisted.client(address, warm_start=False)) as storage:
        status: dict[str, int] = storage.server_status()
        return status


@contextmanager
def opened(storage: Any) -> Iterator[Any]:
    """Yield a connection with a transaction manager of its own."""
    database = DB(storage)
    connection = database.open(transaction.TransactionManager())
    yield connection
    connection.transaction_manager.abort()
    connection.close()
    database.close()


def objects(address: Any, count: int) -> list[bytes]:
    """Commit so many objects; return their oids."""
    database = zeotwisted.DB(address)
    with database.transaction() as connection:
        made = [PersistentMapping(number=number) for number in range(count)]
        connection.root()["objects"] = made
    oids = [each._p_oid for each in made]
    database.close()
    return oids


def test_no_such_object(host: Daemon) -> None:
    with closing(zeotwisted.client(host.address)) as storage, pytest.raises(POSKeyError):
        storage.load(p64(12345))


def test_what_one_process_has_loaded_is_there_for_the_next(upstream: Daemon, host: Daemon) -> None:
    oids = objects(upstream.address, 200)
    loads = []
    for _ in range(2):
        with closing(zeotwisted.client(host.address)) as storage:
            for oid in oids:
                storage.load(oid)
        loads.append(counted(upstream.address)["loads"])
    assert loads[0] == loads[1]


def test_the_file_is_used_after_a_restart_of_the_host_daemon(
    upstream: Daemon, host: Daemon
) -> None:
    oids = objects(upstream.address, 200)
    loads = []
    for _ in range(2):
        with closing(zeotwisted.client(host.address)) as storage:
            for oid in oids:
                storage.load(oid)
        loads.append(counted(upstream.address)["loads"])
        host.stop()
        host.start()
    assert loads[0] == loads[1]


class Line:
    """What counts the messages between a host's daemon and the other one."""

    def __init__(self, server: Any) -> None:
        arguments = ["-m", "benchmarks.relay", server[0], str(server[1]), "0", "1"]
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert self._process.stdout is not None
        (self.address,) = json.loads(self._process.stdout.readline())

    def questions(self) -> int:
        """Return how many messages the host's daemon has sent on its last connection."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(".")
        self._process.stdin.flush()
        report = json.loads(self._process.stdout.readline())
        sent: int = report["connections"][-1]["sent_messages"]
        return sent

    def close(self) -> None:
        """End it."""
        self._process.communicate()


@pytest.fixture
def line(upstream: Daemon) -> Iterator[Line]:
    line = Line(upstream.address)
    yield line
    line.close()


def test_a_prefetch_is_one_question(upstream: Daemon, line: Line, tmp_path: Path) -> None:
    """The host's daemon asks once, and not once for each record."""
    oids = objects(upstream.address, 100)
    host = site.host(tmp_path, line.address)
    try:
        with closing(zeotwisted.client(host.address)) as storage:
            before = line.questions()
            storage.prefetch(oids, maxtid)
            for oid in oids:
                storage.load(oid)
            assert line.questions() == before + 1
    finally:
        host.stop()


@pytest.mark.parametrize("count", [1, 2])
def test_what_comes_ahead_is_passed_on(
    upstream: Daemon, line: Line, tmp_path: Path, count: int
) -> None:
    """A chain of 300 objects takes a few questions, and none for the second process."""
    database = zeotwisted.DB(upstream.address)
    with database.transaction() as connection:
        chain = None
        for _ in range(300):
            chain = PersistentMapping(next=chain)
        connection.root()["chain"] = chain
    database.close()
    host = site.host(tmp_path, line.address)
    try:
        questions = []
        for _ in range(count):
            before = line.questions()
            with opened(zeotwisted.client(host.address)) as connection:
                link = connection.root()["chain"]
                while link is not None:
                    link = link["next"]
            questions.append(line.questions() - before)
        assert questions[0] < 150
        # A process that connects has the host's daemon ask for what is new.
        assert sum(questions[1:]) <= 2
    finally:
        host.stop()


def test_other_processes_see_a_commit_when_they_synchronize(host: Daemon) -> None:
    write(host.address, value=0)
    with (
        opened(zeotwisted.client(host.address)) as writer,
        opened(zeotwisted.client(host.address, server_sync=True)) as reader,
    ):
        for number in range(50):
            writer.root()["value"] = number
            writer.transaction_manager.commit()
            assert writer.root()["value"] == number
            reader.transaction_manager.begin()
            assert reader.root()["value"] == number


def test_a_commit_elsewhere_is_seen_after_a_sync(upstream: Daemon, host: Daemon) -> None:
    """Also if the host's daemon has not heard of it yet."""
    write(upstream.address, value=0)
    with (
        opened(zeotwisted.client(upstream.address)) as writer,
        opened(zeotwisted.client(host.address, server_sync=True)) as reader,
    ):
        for number in range(100):
            writer.root()["value"] = number
            writer.transaction_manager.commit()
            reader.transaction_manager.begin()
            assert reader.root()["value"] == number


def test_a_client_that_comes_sees_all_that_was_committed(upstream: Daemon, host: Daemon) -> None:
    with opened(zeotwisted.client(upstream.address)) as writer:
        for number in range(50):
            writer.root()["value"] = number
            writer.transaction_manager.commit()
            with closing(zeotwisted.client(host.address)) as storage:
                assert storage.lastTransaction() >= writer.root()._p_serial


def test_conflicts(upstream: Daemon, host: Daemon) -> None:
    write(upstream.address, value=0)
    with (
        opened(zeotwisted.client(host.address)) as one,
        opened(zeotwisted.client(upstream.address)) as other,
    ):
        one.root()["value"] = 1
        other.root()["value"] = 2
        other.transaction_manager.commit()
        with pytest.raises(ConflictError):
            one.transaction_manager.commit()
        one.transaction_manager.abort()
        one.transaction_manager.begin()
        until(lambda: _is_seen(one, 2))


def _is_seen(connection: Any, value: int) -> bool:
    connection.transaction_manager.begin()
    return bool(connection.root()["value"] == value)


def test_undo_history_and_pack(upstream: Daemon, host: Daemon) -> None:
    for number in range(3):
        write(host.address, value=number)
    with closing(zeotwisted.DB(host.address)) as database:
        assert len(database.history(z64, size=3)) == 3
        last = database.undoLog(0, 1)[0]
        database.undo(last["id"])
        transaction.commit()
        assert read(database, "value") == 1
        before = len(list(database.storage.iterator()))
        database.pack(time.time())
        assert len(list(database.storage.iterator())) < before
        assert read(database, "value") == 1
    with closing(zeotwisted.DB(upstream.address)) as database:
        assert read(database, "value") == 1


def test_oids_are_new_on_each_host(upstream: Daemon, host: Daemon) -> None:
    with (
        closing(zeotwisted.client(host.address)) as one,
        closing(zeotwisted.client(upstream.address)) as other,
    ):
        oids = [storage.new_oid() for _ in range(150) for storage in (one, other)]
        assert len(set(oids)) == len(oids)


@pytest.mark.parametrize("shared", ["all", "none", "host"])
def test_blobs(upstream: Daemon, tmp_path: Path, shared: str) -> None:
    """The folder is that of the other daemon for all, or each has a cache, or those of the host
    share that of its daemon.
    """
    folder = tmp_path / "host"
    folder.mkdir()
    main, own = tmp_path / "blobs", tmp_path / "host blobs"
    of_host = main if shared == "all" else own
    keys = [f"blob-dir {of_host}", f"shared-blob-dir {shared == 'all'}".lower()]
    host = site.host(folder, upstream.address, *keys)
    of_application = {"all": main, "none": tmp_path / "application blobs", "host": own}[shared]
    options = {"blob_dir": str(of_application), "shared_blob_dir": shared == "all"}
    try:
        with opened(zeotwisted.client(host.address, **options)) as connection:
            connection.root()["blob"] = Blob(b"x" * 100_000)
            connection.transaction_manager.commit()
        for address, folder_of_it in (
            (upstream.address, tmp_path / "other blobs"),
            (host.address, tmp_path / "another"),
        ):
            storage = zeotwisted.client(address, blob_dir=str(folder_of_it))
            with opened(storage) as connection, connection.root()["blob"].open() as file:
                assert file.read() == b"x" * 100_000
        with opened(zeotwisted.client(host.address, **options)) as connection:
            with connection.root()["blob"].open("w") as file:
                file.write(b"y")
            connection.transaction_manager.commit()
            with connection.root()["blob"].open() as file:
                assert file.read() == b"y"
    finally:
        host.stop()


def test_no_mark_is_left_in_the_log(upstream: Daemon, host: Daemon, tmp_path: Path) -> None:
    """The daemon with the storage tells the tid with the vote, and the host's passes it on."""
    write(host.address, value=1)
    upstream.stop()
    with closing(FileStorage(str(tmp_path / "Data.fs"), read_only=True)) as storage:
        for each in storage.iterator():
            assert each.extension == {}
