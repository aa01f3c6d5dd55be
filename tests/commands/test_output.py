"""Standard output that cannot be written: a full disk, or a reader that has gone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemon.conftest import ANYWHERE, TIMEOUT, Running, commit, environment

from .conftest import place

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full"),
]

Daemon = Callable[..., Running]

#: Commands that print, without the address of the server.
COMMANDS = (
    "status", "status --live --interval 0.01", "check", "health", "clients", "pack", "verify",
    "changes",
)  # fmt: skip


def _run(folder: Path, output: object, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "zeotwisted", *arguments],
        cwd=folder,
        env=environment(),
        stdout=output,  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stderr


def _closed() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_a_full_disk_is_one_line(daemon: Daemon, folder: Path) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    commit(running.address, "x", 1)
    with open("/dev/full", "w") as full:
        for command in COMMANDS:
            name, *options = command.split()
            code, errors = _run(folder, full, name, place(running.address), *options)
            assert code == (3 if name == "check" else 1), command
            assert errors == (
                "zeotwisted: standard output cannot be written: No space left on device; make "
                "room, or send it elsewhere\n"
            ), command
        code, errors = _run(folder, full, "backup", place(running.address), "-")
        assert code == 1
        (line,) = errors.splitlines()
        assert "to -: No space left on device" in line


def test_a_reader_that_has_gone_gets_no_complaint(daemon: Daemon, folder: Path) -> None:
    running = daemon(*ANYWHERE, "--file", "Data.fs")
    commit(running.address, "x", 1)
    closed = _closed()
    try:
        for command in COMMANDS:
            name, *options = command.split()
            code, errors = _run(folder, closed, name, place(running.address), *options)
            assert (code, errors) == (3 if name == "check" else 1, ""), command
        # Whoever reads a backup has to know that it is not whole.
        code, errors = _run(folder, closed, "backup", place(running.address), "-")
        assert code == 1
        (line,) = errors.splitlines()
        assert "to -: Broken pipe" in line
    finally:
        os.close(closed)
