"""A file is replaced as a whole, with its owner and its permissions."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from zeotwisted.files import replace_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("wanted", [0o600, 0o644])
def test_content_and_mode(tmp_path: Path, wanted: int) -> None:
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        replace_file(str(path), content, wanted)
        assert path.read_bytes() == content
        assert mode(path) == wanted
    assert os.listdir(tmp_path) == ["file"]


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    replace_file("file", b"here", 0o600)
    assert (tmp_path / "file").read_bytes() == b"here"


def test_the_owner_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    old = path.stat()
    given: list[tuple[int, int]] = []

    def chown(name: str, uid: int, gid: int) -> None:
        assert Path(name).parent == tmp_path
        assert path.read_bytes() == b"new", "the file has its owner before it is in its place"
        given.append((uid, gid))

    monkeypatch.setattr(os, "chown", chown)
    replace_file(str(path), b"new", 0o600)
    assert given == []
    monkeypatch.setattr(os, "geteuid", lambda: old.st_uid + 1)
    replace_file(str(path), b"newer", 0o600)
    assert given == [(old.st_uid, old.st_gid)]
    replace_file(str(tmp_path / "another"), b"", 0o600)
    assert len(given) == 1


def test_a_failure_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*arguments: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "chown", fail)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(PermissionError):
        replace_file(str(path), b"new", 0o600)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
