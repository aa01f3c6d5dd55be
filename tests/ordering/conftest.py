"""What all tests of the ordering rules need."""

from __future__ import annotations

import pytest

from zeotwisted.storageserver.storage import loads


@pytest.fixture(autouse=True)
def time_for_many_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer with many records is not shortened, however busy the machine is."""
    monkeypatch.setattr(loads, "_ENOUGH_TIME", 1000.0)
