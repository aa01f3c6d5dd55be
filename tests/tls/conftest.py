"""Each test gets a `world`, as the client's tests do, and certificates."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clientstorage.conftest import world

from .certificates import Certificates

__all__ = ["world"]


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)
