"""Runs the command against real daemons."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage

from tests.daemon.conftest import SCRIPTS, TIMEOUT, daemon, environment, folder, run
from zeotwisted.commands import main

__all__ = ["daemon", "folder", "run"]


#: Commands that change what belongs to the whole process: its reactor, signals and logs.
_ALONE = {"copy", "restore", "serve"}


class Result(NamedTuple):
    """How a command has ended."""

    code: int
    output: str
    errors: str


class Commands:
    """Runs commands in a folder."""

    def __init__(self, folder: Path) -> None:
        self._options: dict[str, Any] = {
            "cwd": folder,
            "env": environment(),
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``zeotwisted``."""
        return subprocess.Popen([sys.executable, "-m", "zeotwisted", *arguments], **self._options)

    def other(self, program: str, *arguments: str) -> Result:
        """Run another program that is installed."""
        done = subprocess.run(
            [str(SCRIPTS / program), *arguments], timeout=2 * TIMEOUT, check=False, **self._options
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def __call__(self, *arguments: str) -> Result:
        """Run ``zeotwisted``; there is never a traceback."""
        if arguments[0] in _ALONE:
            return ended(self.start(*arguments))
        # A process of its own would take a second for each of hundreds of commands.
        output, errors = StringIO(), StringIO()
        before = os.getcwd()
        os.chdir(self._options["cwd"])
        try:
            with redirect_stdout(output), redirect_stderr(errors):
                code = main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        finally:
            os.chdir(before)
        return Result(code, output.getvalue(), errors.getvalue())

    def fails(self, *arguments: str) -> str:
        """Run ``zeotwisted``, which has to fail; return its only line of errors."""
        result = self(*arguments)
        assert result.code == 1, result
        (line,) = result.errors.splitlines()
        return line


def ended(process: subprocess.Popen[str]) -> Result:
    """Wait for a command."""
    output, errors = process.communicate(timeout=2 * TIMEOUT)
    assert "Traceback" not in output + errors, errors
    return Result(process.returncode, output, errors)


@pytest.fixture
def command(folder: Path) -> Commands:
    return Commands(folder)


def fill(folder: Path, count: int, name: str = "Data.fs") -> None:
    """Make a FileStorage with so many transactions, and blobs in some of them."""
    storage = FileStorage(str(folder / name), blob_dir=str(folder / f"{name}.blobs"))
    database = ZODB.DB(storage)
    connection = database.open()
    root = connection.root()
    for number in range(count):
        root[number % 50] = PersistentMapping({"n": number, "text": "x" * 200})
        if number % 100 == 5:
            root[f"blob {number}"] = Blob(b"%d" % number * 1000)
        transaction.commit()
    connection.close()
    database.close()


def place(address: Any) -> str:
    """Return an address as users write it."""
    return f"{address[0]}:{address[1]}"
