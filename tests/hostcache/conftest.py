"""The daemons of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import site


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[site.Daemon]:
    daemon = site.upstream(tmp_path)
    yield daemon
    daemon.stop()


@pytest.fixture
def host(tmp_path: Path, upstream: site.Daemon) -> Iterator[site.Daemon]:
    folder = tmp_path / "host"
    folder.mkdir()
    daemon = site.host(folder, upstream.address)
    yield daemon
    daemon.stop()
