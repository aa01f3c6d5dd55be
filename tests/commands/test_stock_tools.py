"""ZEO's and RelStorage's own tools, as programs, against real daemons."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from ZODB.FileStorage import FileStorage

from tests.daemon.conftest import ANYWHERE, Running, commit
from tests.postgresql.server import PostgreSQLServer

from .conftest import Commands, fill, place

pytestmark = pytest.mark.timeout(120)

Daemon = Callable[..., Running]


def test_zeopack(daemon: Daemon, command: Commands, folder: Path) -> None:
    for name in ("a.fs", "b.fs"):
        fill(folder, 60, name)
    before = [(folder / name).stat().st_size for name in ("a.fs", "b.fs")]
    socket = f"{folder}/zeo"
    running = daemon(
        *ANYWHERE, "--listen", f"unix:{socket}", "--storage", "1=a.fs", "--storage", "b=b.fs",
        listeners=2,
    )  # fmt: skip
    result = command.other("zeopack", "-d", "1", place(running.address))
    assert (result.code, result.errors) == (0, "")
    assert (folder / "a.fs").stat().st_size == before[0]
    result = command.other("zeopack", place(running.address), "-u", f"{socket}:b")
    assert (result.code, result.errors) == (0, "")
    assert (folder / "a.fs").stat().st_size < before[0]
    assert (folder / "b.fs").stat().st_size < before[1]


def test_zeo_nagios(daemon: Daemon, command: Commands) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    address = place(running.address)
    result = command.other("zeo-nagios", address)
    assert result.code == 1 and result.output == "Empty storage '1'\n"
    commit(running.address, "x", 1)
    result = command.other("zeo-nagios", "-m", "-s", "status", address)
    assert result.code == 0 and result.output.startswith("OK|active_txns=0")
    result = command.other("zeo-nagios", "-m", "-s", "status", address)
    assert result.code == 0 and "commits=0.0" in result.output
    running.stop()
    result = command.other("zeo-nagios", address)
    assert result.code == 2 and result.output.startswith("Can't connect")


def test_zodbconvert(
    daemon: Daemon, command: Commands, folder: Path, postgresql: PostgreSQLServer
) -> None:
    """From a file into a daemon, and from there into PostgreSQL."""
    fill(folder, 60, "a.fs")
    (folder / "b.fs.blobs").mkdir()
    running = daemon(*ANYWHERE, "--file", "b.fs", "--blob-dir", "b.fs.blobs")
    client = f"server {place(running.address)}\nblob-dir cache\nwait-timeout 20\n"
    (folder / "in.conf").write_text(
        "%import zeotwisted\n<filestorage source>\npath a.fs\nblob-dir a.fs.blobs\n</filestorage>\n"
        f"<clientstorage destination>\n{client}</clientstorage>\n"
    )
    result = command.other("zodbconvert", "in.conf")
    assert result.code == 0, result
    assert (folder / "a.fs").read_bytes() == (folder / "b.fs").read_bytes()
    dsn = postgresql.dsn(postgresql.new_database())
    (folder / "out.conf").write_text(
        f"%import zeotwisted\n<clientstorage source>\n{client}</clientstorage>\n"
        "<relstorage destination>\nblob-dir pgblobs\nshared-blob-dir false\n"
        f"<postgresql>\ndriver psycopg2\ndsn {dsn}\n</postgresql>\n</relstorage>\n"
    )
    result = command.other("zodbconvert", "out.conf")
    assert result.code == 0, result
    # It is what our command would have copied.
    (folder / "pg.conf").write_text(
        "%import relstorage\n<relstorage>\nblob-dir pgblobs\nshared-blob-dir false\n"
        f"<postgresql>\ndriver psycopg2\ndsn {dsn}\n</postgresql>\n</relstorage>\n"
    )
    running.stop()
    (folder / "a.conf").write_text(
        "<filestorage>\npath a.fs\nblob-dir a.fs.blobs\n</filestorage>\n"
    )
    result = command("copy", "--from", "a.conf", "--to", "pg.conf")
    assert result.code == 0 and "has all up to transaction" in result.output, result
    with closing(FileStorage(str(folder / "a.fs"), read_only=True)) as storage:
        assert len(storage) > 60
