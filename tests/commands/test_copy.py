"""``zeotwisted copy``: between files, daemons and PostgreSQL."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ZODB.FileStorage import FileStorage

import zeotwisted
from tests.clientstorage.support import wait_until
from tests.daemon.conftest import ANYWHERE, Running, commit
from tests.postgresql.server import PostgreSQLServer
from zeotwisted.commands.copy import failures
from zeotwisted.commands.errors import CommandError

from .conftest import Commands, ended, fill, place

pytestmark = pytest.mark.timeout(120)

Daemon = Callable[..., Running]


def sections(folder: Path, *names: str) -> None:
    """Write a configuration with a FileStorage for each name."""
    (folder / "all.conf").write_text(
        "".join(
            f"<filestorage {name}>\npath {name}.fs\nblob-dir {name}.fs.blobs\n</filestorage>\n"
            for name in names
        )
    )


def blobs(folder: Path) -> dict[str, bytes]:
    """Return the blobs in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix == ".blob"
    }


def assert_same(folder: Path, one: str, other: str) -> None:
    """Two FileStorages have the same bytes."""
    assert (folder / one).read_bytes() == (folder / other).read_bytes()
    content = blobs(folder / f"{one}.blobs")
    assert content and content == blobs(folder / f"{other}.blobs")


def test_between_files(command: Commands, folder: Path) -> None:
    fill(folder, 250, "a.fs")
    sections(folder, "a", "b")
    ends = ("--from", "all.conf#a", "--to", "all.conf#b")
    result = command("copy", *ends)
    assert (result.code, result.errors) == (0, "")
    assert result.output.startswith("all.conf#b: copied 251 transactions, 504 records, 3 blobs in ")
    assert_same(folder, "a.fs", "b.fs")
    # Nothing is left to be copied; then something is.
    assert "all.conf#b: has all up to transaction 0x" in command("copy", *ends).output
    fill(folder, 10, "a.fs")
    assert "copied 10 transactions, " in command("copy", *ends).output
    assert_same(folder, "a.fs", "b.fs")


def test_between_daemons(daemon: Daemon, command: Commands, folder: Path) -> None:
    fill(folder, 120, "a.fs")
    (folder / "b.fs.blobs").mkdir()
    one = daemon(*ANYWHERE, "--file", "a.fs", "--blob-dir", "a.fs.blobs")
    other = daemon(*ANYWHERE, "--file", "b.fs", "--blob-dir", "b.fs.blobs")
    ends = (
        "--from",
        f"zeo://{place(one.address)}",
        "--to",
        f"zeotwisted://{place(other.address)}?storage=1",
    )
    result = command("copy", *ends)
    assert (result.code, result.errors) == (0, "")
    assert "copied 121 transactions" in result.output and "2 blobs" in result.output
    assert_same(folder, "a.fs", "b.fs")
    commit(one.address, "more", 1)
    assert "copied 1 transactions" in command("copy", *ends).output
    assert_same(folder, "a.fs", "b.fs")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(number: int) -> None:
    said = pytest.raises(CommandError, match=r"b\.fs.*; make room on that disk, and then the same")
    with said, failures():
        raise OSError(number, os.strerror(number), "b.fs")


def test_killed_anywhere_and_gone_on(command: Commands, folder: Path) -> None:
    fill(folder, 2000, "a.fs")
    sections(folder, "a", "b")
    ends = ("--from", "all.conf#a", "--to", "all.conf#b")
    copied = folder / "b.fs"
    size = 0
    for signum in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        process = command.start("copy", *ends)

        def has_grown(before: int = size) -> bool:
            return copied.exists() and copied.stat().st_size > before + 100

        wait_until("it has copied something", has_grown)
        process.send_signal(signum)
        result = ended(process)
        if signum == signal.SIGINT:
            assert result.code == 1
            assert result.errors == "zeotwisted: interrupted; the same command goes on\n"
        size = copied.stat().st_size
    assert size < (folder / "a.fs").stat().st_size, "it was too fast for this test"
    # What has no blob yet, or has one that was not voted, is copied again.
    result = command("copy", *ends)
    assert result.code == 0, result
    assert_same(folder, "a.fs", "b.fs")


def test_the_destination_ends_in_the_middle(
    daemon: Daemon, command: Commands, folder: Path
) -> None:
    fill(folder, 2000, "a.fs")
    sections(folder, "a")
    (folder / "b.fs.blobs").mkdir()
    options = (*ANYWHERE, "--file", "b.fs", "--blob-dir", "b.fs.blobs")
    running = daemon(*options)
    uri = f"zeo://{place(running.address)}?wait_timeout=1"
    process = command.start("copy", "--from", "all.conf#a", "--to", uri)
    wait_until("some are there", lambda: (folder / "b.fs").stat().st_size > 20_000)
    running.stop(signal.SIGKILL)
    result = ended(process)
    assert result.code == 1
    (line,) = result.errors.splitlines()
    assert line.startswith("zeotwisted: the copy has failed: ")
    assert line.endswith("; the same command goes on")
    again = daemon(*options)
    result = command("copy", "--from", "all.conf#a", "--to", f"zeo://{place(again.address)}")
    assert result.code == 0, result
    assert "copied 2001 transactions" not in result.output
    assert_same(folder, "a.fs", "b.fs")


def test_histories_that_differ(command: Commands, folder: Path) -> None:
    fill(folder, 20, "a.fs")
    fill(folder, 10, "b.fs")
    sections(folder, "a", "b", "c")
    before = (folder / "b.fs").read_bytes()
    line = command.fails("copy", "--from", "all.conf#a", "--to", "all.conf#b")
    assert "copy into an empty storage" in line and "the destination has transaction 0x" in line
    assert (folder / "b.fs").read_bytes() == before
    # The destination is ahead.
    assert command("copy", "--from", "all.conf#a", "--to", "all.conf#c").code == 0
    fill(folder, 1, "c.fs")
    line = command.fails("copy", "--from", "all.conf#a", "--to", "all.conf#c")
    assert "which is later than the last one of the source" in line
    # It has the same last transaction, but misses earlier ones.
    with closing(FileStorage(str(folder / "a.fs"))) as storage:
        last = storage.lastTransaction()
    with closing(FileStorage(str(folder / "c.fs"))) as storage:
        import time

        from ZODB.serialize import referencesf

        storage.pack(time.time(), referencesf)
        assert storage.lastTransaction() > last
    line = command.fails("copy", "--from", "all.conf#c", "--to", "all.conf#a")
    assert "the destination is not a beginning of the source" in line


def test_the_last_transaction_has_other_records(command: Commands, folder: Path) -> None:
    fill(folder, 5, "a.fs")
    sections(folder, "a", "b")
    assert command("copy", "--from", "all.conf#a", "--to", "all.conf#b").code == 0
    content = bytearray((folder / "b.fs").read_bytes())
    content[content.rindex(b"xxxx")] = ord("y")
    (folder / "b.fs").write_bytes(bytes(content))
    fill(folder, 1, "a.fs")
    line = command.fails("copy", "--from", "all.conf#a", "--to", "all.conf#b")
    assert "has other records in the source than in the destination" in line


def test_blobs_without_a_folder(command: Commands, folder: Path) -> None:
    fill(folder, 20, "a.fs")
    sections(folder, "a", "b")
    (folder / "bare.conf").write_text(
        "<filestorage a>\npath a.fs\n</filestorage>\n<filestorage b>\npath b.fs\n</filestorage>\n"
    )
    line = command.fails("copy", "--from", "bare.conf#a", "--to", "all.conf#b")
    assert (
        "the source has blobs, and was opened without a folder for them; add its blob-dir" in line
    )
    (folder / "b.fs").unlink()
    line = command.fails("copy", "--from", "all.conf#a", "--to", "bare.conf#b")
    assert "the destination has no folder for them; add its blob-dir" in line
    # It goes on as soon as there is one.
    assert command("copy", "--from", "all.conf#a", "--to", "all.conf#b").code == 0
    assert_same(folder, "a.fs", "b.fs")


def test_a_blob_that_is_missing(command: Commands, folder: Path) -> None:
    fill(folder, 20, "a.fs")
    sections(folder, "a", "b")
    (blob,) = (path for path in (folder / "a.fs.blobs").rglob("*") if path.suffix == ".blob")
    blob.unlink()
    result = command("copy", "--from", "all.conf#a", "--to", "all.conf#b")
    assert result.code == 0 and ", 0 blobs in " in result.output
    assert "is missing in the source; its record is copied" in result.errors


def test_wrong_names(command: Commands, folder: Path) -> None:
    sections(folder, "a", "b")
    (folder / "wrong.conf").write_text("<filestorage>\npaht x\n</filestorage>\n")
    (folder / "binary").write_bytes(b"\xff\xfe")
    to = ("--to", "all.conf#b")
    for source, text in (
        ("all.conf", "all.conf has several storages; add #NAME: a, b"),
        ("all.conf#x", "all.conf has no storage x; it has a, b"),
        ("nowhere.conf", "nowhere.conf: No such file or directory; write the path of a file"),
        ("wrong.conf", "'paht' is not a known key name"),
        ("binary", "is not a text in UTF-8"),
        ("zeo://127.0.0.1:1?wait_timeout=0.1", "no connection to 127.0.0.1:1"),
        ("zeo://127.0.0.1:99999", "has no port from 1 to 65535"),
        ("zeo://127.0.0.1:1?password=n33dle&x=1", "x is no argument of a client"),
        ("all.conf#b", "--from and --to are the same storage"),
    ):
        line = command.fails("copy", "--from", source, *to)
        assert text in line and "n33dle" not in line, line
    assert not (folder / "b.fs").exists()


def test_a_destination_without_rights(daemon: Daemon, command: Commands, folder: Path) -> None:
    fill(folder, 5, "a.fs")
    sections(folder, "a")
    running = daemon(*ANYWHERE, "--file", "b.fs", "--allow", "write everybody")
    uri = f"zeo://{place(running.address)}"
    line = command.fails("copy", "--from", "all.conf#a", "--to", uri)
    assert "may not call" in line and "role administer" in line


@pytest.mark.parametrize("keep_history", [True, False])
def test_data_fs_with_blobs_to_postgresql_and_back(
    daemon: Daemon,
    command: Commands,
    folder: Path,
    postgresql: PostgreSQLServer,
    keep_history: bool,
) -> None:
    fill(folder, 120, "a.fs")
    sections(folder, "a", "b")
    dsn = postgresql.dsn(postgresql.new_database())
    (folder / "pg.conf").write_text(
        f"%import relstorage\n<relstorage>\nblob-dir pgblobs\nshared-blob-dir false\n"
        f"keep-history {str(keep_history).lower()}\n"
        f"<postgresql>\ndriver psycopg2\ndsn {dsn}\n</postgresql>\n</relstorage>\n"
    )
    to = ("copy", "--from", "all.conf#a", "--to", "pg.conf")
    result = command(*to)
    assert result.code == 0, result
    assert "pg.conf: copied 121 transactions, " in result.output and "2 blobs" in result.output
    assert "has all up to transaction" in command(*to).output
    fill(folder, 10, "a.fs")
    result = command(*to)
    assert result.code == 0 and "copied 10 transactions, " in result.output, result
    result = command("copy", "--from", "pg.conf", "--to", "all.conf#b")
    assert result.code == 0, result
    with (
        closing(FileStorage(str(folder / "a.fs"), blob_dir=str(folder / "a.fs.blobs"))) as one,
        closing(FileStorage(str(folder / "b.fs"), blob_dir=str(folder / "b.fs.blobs"))) as other,
    ):
        assert state(one) == state(other)
        if keep_history:
            assert history(one) == history(other)
    # The daemon serves it.
    (folder / "zeo.conf").write_text(
        "<zeo>\naddress 127.0.0.1:0\n</zeo>\n" + (folder / "pg.conf").read_text()
    )
    running = daemon("-C", "zeo.conf")
    assert command("verify", place(running.address), "--reachable").code == 0
    database = zeotwisted.DB(running.address, blob_dir=str(folder / "cache"))
    with database.transaction() as connection, connection.root()["blob 105"].open() as file:
        assert file.read() == b"105" * 1000
    database.close()


def state(storage: Any) -> dict[bytes, tuple[Any, ...]]:
    """Return the current record of each object."""
    found = {}
    following: bytes | None = None
    while True:
        oid, tid, data, following = storage.record_iternext(following)
        found[oid] = tid, data
        if following is None:
            return found


def history(storage: Any) -> list[Any]:
    """Return all transactions."""
    return [
        (each.tid, each.user, each.description, sorted((r.oid, r.data) for r in each))
        for each in storage.iterator()
    ]
