"""A short run of `blobmemory`."""

from __future__ import annotations

import sys

import pytest

from .blobmemory import measure


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells how much memory")
def test_memory_does_not_grow_with_the_blob() -> None:
    size = 128
    result = measure(size * 2**20)
    taken = [result[what][who] for what in ("sent", "fetched") for who in ("daemon", "client")]
    assert max(taken) < size / 4, result
