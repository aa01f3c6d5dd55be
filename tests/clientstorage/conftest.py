"""Each test gets a `world`, in which it makes servers and clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import LogEvent, globalLogPublisher

from .support import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Make servers and clients; a failure that Twisted logs is a failure of the test."""
    with World(tmp_path) as world:

        def logged(event: LogEvent) -> None:
            if "log_failure" in event:
                world.failures.append(event["log_failure"])

        globalLogPublisher.addObserver(logged)
        # The first to be registered is the last to be called.
        world.callback(globalLogPublisher.removeObserver, logged)
        yield world
    assert world.failures == []


@pytest.fixture(params=["zeotwisted", "ZEO"])
def package(request: pytest.FixtureRequest) -> str:
    """Whose server it is."""
    return str(request.param)
