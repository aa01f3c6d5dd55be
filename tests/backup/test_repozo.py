"""ZODB's ``repozo`` beside our daemon."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.clientstorage.support import wait_until
from tests.daemon.conftest import SCRIPTS, daemon, folder, run

from .databases import Database, contents
from .test_server import Daemon, Writers, served

__all__ = ["daemon", "folder", "run"]


def back_up(database: Database, repository: Path) -> None:
    """Back up under a name of its own: repozo names files by the second."""
    last = max((each.stat().st_mtime for each in repository.iterdir()), default=0.0)
    wait_until("the next second", lambda: int(time.time()) > int(last))
    repozo("--backup", "--gzip", "--repository", repository, "--file", database.file)


def repozo(*arguments: object) -> None:
    command = [sys.executable, SCRIPTS / "repozo", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_repozo_works_beside_the_daemon(daemon: Daemon, database: Database, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    running, _ = served(daemon, database)
    with Writers(running.address, tmp_path) as writers:
        for _ in range(3):
            writers.wait()
            back_up(database, repository)
    assert running.stop() == 0
    back_up(database, repository)
    assert len([*repository.glob("*.deltafsz")]) == 3
    recovered = tmp_path / "recovered.fs"
    repozo("--recover", "--repository", repository, "--output", recovered)
    assert contents(str(recovered), None) == contents(database.file, None)
    assert recovered.read_bytes() == Path(database.file).read_bytes()
