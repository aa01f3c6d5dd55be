"""The memory of a fleet of clients is measured to the end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.fleet import main


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells how much memory")
def test_each_contender_has_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = "--objects 300 --processes 2 --clients 2 --rows 2 --contenders zeo zeotwisted"
    monkeypatch.setattr(sys, "argv", ["fleet", *small.split(), "--dir", str(tmp_path)])
    assert main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["zeo", "zeotwisted"]
    assert all("each client" in line for line in lines)
    assert not list(tmp_path.iterdir())
