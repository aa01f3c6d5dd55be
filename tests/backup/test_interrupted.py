"""What a restore or a backup that was killed has left is removed by the next one, and no more."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.conftest import environment
from zeotwisted.backup import new_folder

from .conftest import Run, refused
from .databases import Database

#: How long (seconds) a process may take until it is where it is to be killed.
_SOON = 30.0


def unfinished(folder: Path) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name.startswith(".unfinished-"))


def killed(*arguments: object, when: Callable[[], object], stdin: int | None = None) -> None:
    """Run a command and kill it as soon as something is so."""
    program = [sys.executable, "-m", "zeotwisted", *map(str, arguments)]
    with subprocess.Popen(
        program, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment()
    ) as process:
        end = time.monotonic() + _SOON
        while not when():
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < end
        process.kill()


def is_there(folder: Path, end: str) -> Callable[[], bool]:
    """Return whether there is something in an unfinished folder, or that itself."""

    def look() -> bool:
        # Folders may go meanwhile, which this ignores.
        for path, folders, files in os.walk(folder):
            for name in (*folders, *files):
                whole = os.path.join(path, name)
                if ".unfinished-" in whole and whole.endswith(end):
                    return True
        return False

    return look


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder in which databases are restored."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder


@pytest.fixture
def made(command: Run, database: Database, target: Path) -> Path:
    """A backup with many blobs, so that there is time to kill what reads it."""
    database.change(200)
    assert command("backup", *database.arguments, target)[0] == 0
    return target


@pytest.mark.parametrize("end", ["", "/Data.fs", ".blob"])
def test_the_next_restore_removes_what_one_has_left(
    command: Run, made: Path, place: Path, end: str
) -> None:
    killed("restore", made, place / "new", when=is_there(place, end))
    assert not (place / "new").exists() and unfinished(place)
    # To another name, as people do who are not sure.
    code, said, _ = command("restore", made, place / "other")
    assert code == 0 and "restored and compared" in said
    assert os.listdir(place) == ["other"]
    assert command("restore", made, place / "new")[0] == 0


def test_a_stream_that_was_being_unpacked(command: Run, made: Path, place: Path) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as stream:
        stream.write(b"\0" * 100)
        stream.flush()
        killed("restore", "-", place / "new", when=lambda: len(unfinished(place)) > 1, stdin=read)
    os.close(read)
    assert command("restore", made, place / "new")[0] == 0
    assert os.listdir(place) == ["new"]


def test_what_is_not_ours_stays(command: Run, made: Path, place: Path) -> None:
    """Other names, another kind of content, links, and a restore that is under way."""
    precious = place / "precious"
    precious.mkdir()
    (precious / "file").write_text("precious")
    for name in (".unfinished-work", ".unfinished-zeotwisted-abcdefgh", ".unfinished-new-12345678"):
        (place / name).mkdir()
        (place / name / "file").write_text("precious")
    (place / ".unfinished-zeotwisted-linklink").symlink_to(precious)
    (place / ".unfinished-zeotwisted-filefile").write_text("precious")
    before = unfinished(place)
    with new_folder(str(place / "first")) as folder:
        Path(folder, "file").write_text("being written")
        assert command("restore", made, place / "second")[0] == 0
    assert (place / "first" / "file").read_text() == "being written"
    assert unfinished(place) == before
    assert len([*place.glob("**/file")]) == 5


def test_a_backup_is_not_made_where_a_restore_is_under_way(
    command: Run, database: Database, place: Path
) -> None:
    with new_folder(str(place / "first")) as folder:
        refused(command("backup", *database.arguments, place), "has something else in it")
        assert os.path.isdir(folder)


@pytest.mark.parametrize("end", ["/.unfinished-piece-000001", ".blob"])
def test_the_next_backup_removes_what_one_has_left(
    command: Run, database: Database, target: Path, tmp_path: Path, end: str
) -> None:
    database.change(200)
    killed("backup", *database.arguments, target, when=is_there(target, end))
    assert unfinished(target)
    assert command("backup", *database.arguments, target)[0] == 0
    assert not unfinished(target)
    assert "To restore it" in (target / "README.txt").read_text()
    assert command("restore", target, tmp_path / "new")[0] == 0


def test_a_mount_point_is_refused_at_once(
    command: Run, made: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder cannot be renamed to it, which would be noticed after hours."""
    (place / "mounted").mkdir()
    monkeypatch.setattr(os.path, "ismount", lambda path: path == str(place / "mounted"))
    refused(command("restore", made, place / "mounted"), "mount", "choose a folder in it")
