"""A standby follows, is promoted, and refuses what is not its primary's history."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import transaction
import ZODB
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ReadOnlyError, StorageError
from ZODB.serialize import referencesf

import zeotwisted
from tests.daemon.conftest import SCRIPTS, Running, environment, wait_for

from .conftest import Node, command, contents, status

pytestmark = pytest.mark.timeout(120)


def database(*nodes: Node, **options: Any) -> ZODB.DB:
    cache = nodes[0].folder.parent / "cache"
    addresses = [node.address for node in nodes]
    return ZODB.DB(zeotwisted.client(addresses, blob_dir=str(cache), **options))


def fill(db: ZODB.DB, count: int) -> None:
    """Commit objects, blobs, undos and long records."""
    for number in range(count):
        with db.transaction(f"number {number}") as connection:
            root = connection.root()
            root[number] = type(root)({"data": random.randbytes(number * 1000)})
            root["blob", number] = Blob(random.randbytes(number * 10_000))
            transaction.get().setExtendedInfo("number", number)
        if number % 5 == 4:
            db.undo(db.undoLog(0, 1)[0]["id"])
            transaction.commit()


def test_it_has_everything(node: Callable[..., Node]) -> None:
    primary = node("primary")
    db = database(primary)
    fill(db, 10)
    standby = node("standby", primary.place)
    fill(db, 10)
    standby.wait_for(primary)
    state = standby.wait(lambda status: status["standby"]["state"] == "has everything")["standby"]
    assert (state["lag"], state["problem"], state["primary"]) == (0, "", primary.place)
    # It is read meanwhile, and not written.
    with pytest.raises(StorageError, match="refuses us"):
        zeotwisted.client(standby.address, wait_timeout=600)
    reader = database(standby, read_only=True)
    with reader.transaction() as connection:
        assert connection.root()[3]["data"] is not None
        with connection.root()["blob", 3].open() as blob:
            assert len(blob.read()) == 30_000
    code, output = command("clients", primary.place)
    assert code == 0 and output.count("  standby  ") == 1
    storage = reader.storage
    with pytest.raises(ReadOnlyError):
        storage.tpc_begin(transaction.get())
    reader.close()
    db.close()
    primary.stop()
    standby.stop()
    assert contents(primary.path) == contents(standby.path)


def test_readers_are_told_of_changes(node: Callable[..., Node]) -> None:
    primary = node("primary")
    standby = node("standby", primary.place)
    db = database(primary)
    # It has the root then.
    standby.wait_for(primary)
    reader = ZODB.DB(zeotwisted.client(standby.address, read_only=True))
    connection = reader.open(transaction.TransactionManager())
    for number in range(5):
        with db.transaction() as writing:
            writing.root()["number"] = number
        standby.wait_for(primary)
        # The news is on its way.
        end = time.monotonic() + 10
        while True:
            connection.sync()
            if connection.root().get("number") == number:
                break
            assert time.monotonic() < end
            time.sleep(0.01)
    connection.close()
    reader.close()
    db.close()


def test_killed_at_any_moment(node: Callable[..., Node]) -> None:
    """What it has is always the beginning of what the primary has."""
    primary = node("primary")
    standby = node("standby", primary.place)
    db = database(primary)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            fill(db, 6)

    copies = []
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for seed in range(6):
            time.sleep(random.Random(seed).random())
            standby.kill()
            copy = standby.folder / f"copy{seed}.fs"
            copy.write_bytes(standby.path.read_bytes())
            copies.append(contents(copy, standby.folder / "blobs"))
            standby.start()
    finally:
        done.set()
        writer.join()
    standby.wait_for(primary)
    db.close()
    primary.stop()
    standby.stop()
    everything = contents(primary.path)
    assert contents(standby.path) == everything
    assert all(everything[: len(copy)] == copy for copy in copies)
    assert len({len(copy) for copy in copies}) > 1
    assert not list((standby.folder / "blobs" / "tmp").glob("standby-*"))


def test_promotion(node: Callable[..., Node]) -> None:
    primary = node("primary")
    standby = node("standby", primary.place)
    db = database(primary, standby, read_only_fallback=True)
    fill(db, 3)
    standby.wait_for(primary)
    code, output = command("promote", primary.place)
    assert code == 1 and "is no standby; it follows no other" in output
    primary.kill()
    # Clients read at the standby.
    connection = db.open()
    connection.cacheMinimize()
    assert connection.root()[1] is not None
    connection.close()
    last = standby.status()["last-transaction"]
    code, output = command("promote", standby.place)
    assert (code, last in output) == (0, True)
    assert f"{standby.place} takes changes now" in output
    assert "it was not connected to its primary" in output
    assert "standby" not in standby.status()
    # They write there without having been closed, and their cache is as it was.
    for attempt in transaction.manager.attempts(3):
        with attempt:
            connection = db.open()
            connection.root()["after"] = 1
    assert standby.status()["commits"] == 1
    connection.close()
    # It stays promoted, even if its configuration says otherwise.
    standby.stop()
    standby.start()
    with db.transaction() as connection:
        connection.root()["after"] = 2
    db.close()
    assert standby.running is not None
    wait_for(standby.running, f"was promoted and does not follow {primary.place}")


def test_new_objects_get_new_oids(node: Callable[..., Node]) -> None:
    """Clients may hold oids that the lost primary gave them, and have not used them yet."""
    primary = node("primary")
    standby = node("standby", primary.place)
    first = zeotwisted.client(primary.address)
    given = {first.new_oid() for _ in range(150)}
    standby.wait(lambda status: status["standby"]["state"] == "has everything")
    code, output = command("promote", standby.place)
    assert code == 0 and "its primary was there: stop that, or clients write to both" in output
    second = zeotwisted.client(standby.address)
    assert given.isdisjoint({second.new_oid() for _ in range(300)})
    first.close()
    second.close()


def test_it_refuses_another_database(node: Callable[..., Node]) -> None:
    primary, other = node("primary"), node("other")
    for each in (primary, other):
        db = database(each)
        fill(db, 2)
        db.close()
    other.stop()
    other.primaries = [primary.place]
    before = contents(other.path)
    other.start()
    state = other.wait(lambda status: status["standby"]["problem"])["standby"]
    assert state["state"] == "refuses to follow"
    assert "this storage has 3 transactions that the primary does not have" in state["problem"]
    assert "move this storage away" in state["problem"]
    code, output = command("check", other.place)
    assert code == 2
    assert output.startswith(
        f"ZEO CRITICAL - storage 1: the standby cannot follow {primary.place}: this storage has 3 "
    )
    assert len(output.partition(" / ")[0]) < 1000 and output.count("\n") == 1
    code, output = command("status", other.place)
    assert code == 0 and f"  standby of {primary.place}: refuses to follow, " in output
    other.stop()
    assert contents(other.path) == before
    # Its history may be the right one: that is the operator's choice, who is told.
    other.start()
    other.wait(lambda status: status["standby"]["problem"])
    code, output = command("promote", other.place)
    assert code == 0 and "it refused to follow its primary: this storage has 3 tran" in output


def test_an_old_primary_names_what_only_it_has(node: Callable[..., Node]) -> None:
    primary = node("primary")
    standby = node("standby", primary.place)
    db = database(primary)
    fill(db, 3)
    standby.wait_for(primary)
    standby.stop()
    fill(db, 2)
    db.close()
    primary.kill()
    shared = len(contents(standby.path))
    lost = [each[0].hex() for each in contents(primary.path)[shared:]]
    assert len(lost) == 2
    standby.start()
    code, output = command("promote", standby.place)
    assert code == 0 and "what the primary committed after this transaction is not here" in output
    primary.primaries = [standby.place]
    primary.start()
    problem = primary.wait(lambda status: status["standby"]["problem"])["standby"]["problem"]
    assert f"{lost[0]}, {lost[1]};" in problem
    assert Path(f"{primary.path}.diverged").read_text().split() == lost
    primary.stop()
    # With its own copy of the new primary, it follows.
    for each in primary.folder.glob("Data.fs*"):
        each.unlink()
    primary.start()
    primary.wait(lambda status: status["standby"]["state"] == "has everything")


def test_a_primary_that_was_changed_behind_it(node: Callable[..., Node]) -> None:
    """The same transaction ids, and another record."""
    primary = node("primary")
    db = database(primary)
    fill(db, 2)
    standby = node("standby", primary.place)
    standby.wait_for(primary)
    with db.transaction() as connection:
        connection.root()["more"] = "xyzzy"
    standby.wait_for(primary)
    db.close()
    standby.stop()
    primary.stop()
    data = primary.path.read_bytes()
    assert data.count(b"xyzzy") == 1
    primary.path.write_bytes(data.replace(b"xyzzy", b"plugh"))
    primary.start()
    standby.start()
    problem = standby.wait(lambda status: status["standby"]["problem"])["standby"]["problem"]
    assert "is another one at the primary" in problem


def test_both_are_packed(node: Callable[..., Node]) -> None:
    """A pack of the primary is none of the standby, which goes on, and packs by itself."""
    primary = node("primary")
    standby = node("standby", primary.place)
    db = database(primary)
    fill(db, 6)
    standby.wait_for(primary)
    db.pack()
    fill(db, 3)
    standby.wait_for(primary)
    standby.stop()
    storage = FileStorage(str(standby.path), blob_dir=str(standby.folder / "blobs"))
    storage.pack(time.time(), referencesf)
    storage.close()
    standby.start()
    fill(db, 1)
    standby.wait_for(primary)
    db.close()
    primary.stop()
    standby.stop()
    theirs, ours = (
        {record[0]: record[2] for each in contents(path) for record in each[5]}
        for path in (primary.path, standby.path)
    )
    assert ours.items() <= theirs.items()


def test_the_command(node: Callable[..., Node], tmp_path: Path) -> None:
    primary = node("primary")
    db = database(primary)
    fill(db, 2)
    last = db.storage.lastTransaction().hex()
    db.close()
    folder = tmp_path / "standby"
    folder.mkdir()
    run = [str(SCRIPTS / "zeotwisted"), "standby", primary.place, "--listen", f"{folder}/socket"]
    running = Running(run, folder, 1)
    end = time.monotonic() + 20
    while f'"last": "{last}"' not in (said := json.dumps(status(running.address))):
        assert time.monotonic() < end, said
        time.sleep(0.01)
    code, output = command("promote", f"{folder}/socket")
    assert code == 0 and last in output
    assert running.stop() == 0
    assert "Traceback" not in running.output
    assert contents(folder / "Data.fs") == contents(primary.path)


def test_mistakes_of_the_command(tmp_path: Path) -> None:
    for arguments, message in (
        (("nonsense",), "nonsense: write host:port"),
        (("8100", "--file", f"{tmp_path}/none/Data.fs"), "create the directory"),
        (("8100", "--user", "me"), "--user needs --password-file"),
    ):
        code, output = command("standby", *arguments)
        assert code == 1 and message in output and len(output.splitlines()) == 1


def test_mistakes_of_the_configuration(node: Callable[..., Node], tmp_path: Path) -> None:
    primary = node("primary")
    for keys, section, message in (
        ("", "<mappingstorage 1>\n</mappingstorage>", "zeo: standby 1: a standby needs a <files"),
        ("password-file ./none", "", "zeo: standby 1: a password is of no use without username"),
    ):
        conf = tmp_path / "zeo.conf"
        conf.write_text(
            f"<zeo>\naddress 127.0.0.1:0\n<standby>\nprimary {primary.place}\n{keys}\n</standby>\n"
            f"</zeo>\n{section or '<filestorage 1>'}\n"
            + ("" if section else "path Data.fs\n</filestorage>\n")
        )
        run = [str(SCRIPTS / "twist"), "zeo", "-C", str(conf)]
        result = subprocess.run(
            run, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=20
        )
        assert result.returncode == 1
        assert message in result.stderr and "Traceback" not in result.stderr + result.stdout


def test_it_needs_a_folder_for_blobs(node: Callable[..., Node], tmp_path: Path) -> None:
    primary = node("primary")
    db = database(primary)
    fill(db, 2)
    db.close()
    conf = tmp_path / "zeo.conf"
    conf.write_text(
        f"<zeo>\naddress 127.0.0.1:0\n<standby>\nprimary {primary.place}\n</standby>\n</zeo>\n"
        "<filestorage 1>\npath Data.fs\n</filestorage>\n"
    )
    running = Running([str(SCRIPTS / "twist"), "zeo", "-C", str(conf)], tmp_path, 1)
    wait_for(running, "add blob-dir")
    assert running.stop() == 0
    assert "Traceback" not in running.output
    # It has what was before the first blob.
    found = contents(tmp_path / "Data.fs")
    assert found == contents(primary.path)[: len(found)]


def test_show_config(tmp_path: Path) -> None:
    (tmp_path / "zeo.conf").write_text(
        "<zeo>\naddress 127.0.0.1:0\n<standby>\nprimary zeo1:8100\n</standby>\n</zeo>\n"
        "<filestorage 1>\npath Data.fs\n</filestorage>\n"
    )
    run = [str(SCRIPTS / "twist"), "zeo", "-C", "zeo.conf", "--show-config"]
    shown = subprocess.run(run, cwd=tmp_path, env=environment(), capture_output=True, text=True)
    assert "standby 1 of zeo1:8100  # zeo.conf" in shown.stdout.splitlines()


def test_the_log_tells_of_a_lag_once(node: Callable[..., Node]) -> None:
    primary = node("primary")
    standby = node("standby", primary.place, keys="max-lag 0.5\n")
    standby.wait(lambda status: status["standby"]["state"] == "has everything")
    for _ in range(2):
        primary.kill()
        # Its clock looks each second.
        standby.wait(lambda status: status["standby"]["lag"] > 3)
        primary.start()
        standby.wait(lambda status: status["standby"]["state"] == "has everything")
    lines = [
        line
        for line in standby.stop().splitlines()
        if "has everything that" in line or "max-lag" in line
    ]
    late, complete, *rest = lines
    assert f"standby '1' has not had everything that {primary.place} has for more than 0.5" in late
    assert f"standby '1' has everything that {primary.place} has again" in complete
    assert len(rest) == 2 and "(max-lag)" in rest[0]


def copied(primary: Node, folder: Path, cut: int = 0) -> None:
    """Copy a primary's files while it runs: the records, and then the blobs.

    :param cut: how many bytes of the end are missing, as if it was being written.
    """
    folder.mkdir()
    (folder / "Data.fs").write_bytes(primary.path.read_bytes())
    os.truncate(folder / "Data.fs", os.path.getsize(folder / "Data.fs") - cut)
    shutil.copytree(primary.folder / "blobs", folder / "blobs")


def restored(primary: Node, folder: Path) -> None:
    """Restore a backup of a primary."""
    backup = folder.parent / "backup"
    for arguments in (
        ("backup", primary.place, str(backup)),
        ("restore", str(backup), str(folder)),
    ):
        code, output = command(*arguments)
        assert code == 0, output


@pytest.mark.parametrize("how", [copied, partial(copied, cut=100), restored])
def test_it_begins_with_a_copy(
    node: Callable[..., Node], tmp_path: Path, how: Callable[..., None]
) -> None:
    """What is there is not sent again."""
    primary = node("primary")
    db = database(primary)
    fill(db, 10)
    how(primary, tmp_path / "standby")
    there = contents(tmp_path / "standby" / "Data.fs")
    assert there
    fill(db, 3)
    standby = node("standby", primary.place)
    standby.wait_for(primary)
    fill(db, 2)
    standby.wait_for(primary)
    db.close()
    primary.stop()
    log = standby.stop()
    assert f"follows {primary.place} after transaction {there[-1][0].hex()}" in log
    assert contents(standby.path) == contents(primary.path)


def test_a_copy_that_was_changed_is_refused(node: Callable[..., Node], tmp_path: Path) -> None:
    """As by a program that has opened it to write."""
    primary = node("primary")
    db = database(primary)
    fill(db, 3)
    folder = tmp_path / "standby"
    copied(primary, folder)
    storage = FileStorage(str(folder / "Data.fs"), blob_dir=str(folder / "blobs"))
    changed = ZODB.DB(storage)
    fill(changed, 1)
    last = storage.lastTransaction().hex()
    changed.close()
    before = contents(folder / "Data.fs")
    fill(db, 2)
    db.close()
    standby = node("standby", primary.place)
    state = standby.wait(lambda status: status["standby"]["problem"])["standby"]
    assert state["state"] == "refuses to follow"
    assert f"1 transactions that the primary does not have: {last}" in state["problem"]
    assert "start the standby with a copy of the primary's" in state["problem"]
    log = standby.stop()
    assert log.count("does not follow") == 1
    assert contents(folder / "Data.fs") == before
