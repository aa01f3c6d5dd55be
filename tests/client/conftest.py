"""Each test gets a `world`, in which it makes servers and clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from .support import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make servers and clients; a failure that Twisted logs is a failure of the test."""
    failures: list[Failure] = []

    def logged(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(logged)
    try:
        with World(tmp_path) as world:
            yield world
    finally:
        globalLogPublisher.removeObserver(logged)
    assert failures == []


@pytest.fixture(params=["zeotwisted", "ZEO"])
def package(request: pytest.FixtureRequest) -> str:
    """Whose server it is."""
    return str(request.param)
