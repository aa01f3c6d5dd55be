"""Runs the commands in the process of the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from zeotwisted.commands import main

from .databases import Database

__all__ = ["Run", "refused"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``zeotwisted``; return its exit code, and what it printed and complained."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:
            code = int(exit.code or 0)
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A database with some transactions."""
    made = Database(tmp_path / "database")
    made.change(12)
    return made


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder for the backup, which is not there yet."""
    return tmp_path / "backup"


def refused(outcome: tuple[int, str, str], *words: str) -> None:
    """Check that a command ended with 1 and one line that has all these words."""
    code, _, complaint = outcome
    assert code == 1
    assert complaint.count("\n") == 1 and complaint.startswith("zeotwisted"), complaint
    assert "Traceback" not in complaint
    assert all(word in complaint for word in words), complaint
