"""``zeotwisted restore --to``: a backup becomes a storage of any kind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ZODB.FileStorage import FileStorage

from tests.clientstorage.support import wait_until
from tests.daemon.conftest import ANYWHERE, Running
from tests.postgresql.server import PostgreSQLServer

from .conftest import Commands, ended, fill, place
from .test_copy import assert_same, history, sections, state

pytestmark = pytest.mark.timeout(120)

Daemon = Callable[..., Running]


@pytest.fixture
def backup(command: Commands, folder: Path) -> str:
    """A backup of the file a.fs."""
    fill(folder, 120, "a.fs")
    result = command("backup", "--file", "a.fs", "--blobs", "a.fs.blobs", "backup")
    assert result.code == 0, result
    return "backup"


def transactions(path: Path) -> list[bytes]:
    with closing(FileStorage(str(path), read_only=True)) as storage:
        return [each.tid for each in storage.iterator()]


def test_into_a_section(command: Commands, folder: Path, backup: str) -> None:
    sections(folder, "b")
    until = transactions(folder / "a.fs")[60].hex()
    result = command("restore", backup, "--to", "all.conf#b", "--until", until)
    assert (result.code, result.errors) == (0, ""), result
    assert "all.conf#b: copied 61 transactions" in result.output
    # It goes on with what is there, as after an interruption.
    result = command("restore", backup, "--to", "all.conf#b")
    assert (result.code, result.errors) == (0, ""), result
    assert "copied 60 transactions" in result.output
    assert_same(folder, "a.fs", "b.fs")
    assert "has all up to transaction 0x" in command("restore", backup, "--to", "all.conf").output


def test_into_a_daemon(command: Commands, daemon: Daemon, folder: Path, backup: str) -> None:
    (folder / "b.fs.blobs").mkdir()
    running = daemon(*ANYWHERE, "--file", "b.fs", "--blob-dir", "b.fs.blobs")
    result = command("restore", backup, "--to", f"zeotwisted://{place(running.address)}?storage=1")
    assert (result.code, result.errors) == (0, ""), result
    assert_same(folder, "a.fs", "b.fs")


def test_into_postgresql(
    command: Commands, folder: Path, backup: str, postgresql: PostgreSQLServer
) -> None:
    dsn = postgresql.dsn(postgresql.new_database())
    (folder / "pg.conf").write_text(
        "%import relstorage\n<relstorage>\nblob-dir pgblobs\nshared-blob-dir false\n"
        f"<postgresql>\ndriver psycopg2\ndsn {dsn}\n</postgresql>\n</relstorage>\n"
    )
    result = command("restore", backup, "--to", "pg.conf")
    assert result.code == 0 and "pg.conf: copied 121 transactions, " in result.output, result
    sections(folder, "b")
    assert command("copy", "--from", "pg.conf", "--to", "all.conf#b").code == 0
    with (
        closing(FileStorage(str(folder / "a.fs"), blob_dir=str(folder / "a.fs.blobs"))) as one,
        closing(FileStorage(str(folder / "b.fs"), blob_dir=str(folder / "b.fs.blobs"))) as other,
    ):
        assert state(one) == state(other)
        assert history(one) == history(other)


def test_without_a_damaged_blob(command: Commands, folder: Path, backup: str) -> None:
    sections(folder, "b")
    damaged, whole = sorted((folder / backup).rglob("*.blob"))
    damaged.write_bytes(b"something else")
    assert "--allow-damaged-blobs" in command.fails("restore", backup, "--to", "all.conf#b")
    result = command("restore", backup, "--allow-damaged-blobs", "--to", "all.conf#b")
    assert result.code == 1 and "all.conf#b: copied 121 transactions" in result.output, result
    assert str(damaged.relative_to(folder)) in result.errors.splitlines()[0]
    assert result.errors.splitlines()[-1].startswith("zeotwisted: 1 blobs are left out")
    (restored,) = (folder / "b.fs.blobs").rglob("*.blob")
    assert restored.read_bytes() == whole.read_bytes()


@pytest.fixture
def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of all commands."""
    made = folder / "temporary"
    made.mkdir()
    monkeypatch.setenv("TMPDIR", str(made))
    return made


def test_killed_and_gone_on(temporary: Path, command: Commands, folder: Path, backup: str) -> None:
    fill(folder, 2000, "a.fs")
    assert command("backup", "--file", "a.fs", "--blobs", "a.fs.blobs", backup).code == 0
    sections(folder, "b")
    process = command.start("restore", backup, "--to", "all.conf#b")
    copied = folder / "b.fs"
    wait_until("some are there", lambda: copied.exists() and copied.stat().st_size > 20_000)
    process.send_signal(signal.SIGKILL)
    ended(process)
    assert copied.stat().st_size < (folder / "a.fs").stat().st_size, "it was too fast"
    assert os.listdir(temporary)
    result = ended(command.start("restore", backup, "--to", "all.conf#b"))
    assert (result.code, result.errors) == (0, ""), result
    assert_same(folder, "a.fs", "b.fs")
    assert not os.listdir(temporary)


def test_another_database_is_there(command: Commands, folder: Path, backup: str) -> None:
    fill(folder, 10, "b.fs")
    sections(folder, "b")
    before = (folder / "b.fs").read_bytes()
    line = command.fails("restore", backup, "--to", "all.conf#b")
    assert "into an empty storage" in line
    assert (folder / "b.fs").read_bytes() == before


def test_mistakes(command: Commands, folder: Path, backup: str) -> None:
    for arguments, words in (
        ((backup,), "write a folder, or --to"),
        ((backup, "new", "--to", "all.conf"), "write a folder, or --to"),
        ((backup, "--to", "none.conf"), "none.conf: No such file or directory"),
        ((backup, "--to", "zeo://127.0.0.1:1?wait_timeout=1"), "cannot be opened"),
        (("none", "--to", "none.conf"), "none"),
    ):
        assert words in command.fails("restore", *arguments)
