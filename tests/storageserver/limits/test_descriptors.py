"""The soft limit is raised; clients get a part of the descriptors."""

from __future__ import annotations

import subprocess
import sys

import pytest

from zeotwisted.storageserver.limits.descriptors import allot

_RAISE = """
import resource
from zeotwisted.storageserver import raise_descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
print(raise_descriptors(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("soft", "hard"), [(100, 200), (200, 200)])
def test_soft_limit_is_raised(soft: int, hard: int) -> None:
    program = _RAISE.format(soft=soft, hard=hard)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"200", b"200", b"200"]


@pytest.mark.parametrize("number", [0, 128, 1024, 2**20])
def test_some_are_left(number: int) -> None:
    share = allot(number)
    assert min(share) > 0
    assert share.files > share.connections // 2 * 2
    assert sum(share) <= max(number, 128) - 64


def test_usual_limit() -> None:
    assert allot(1024) == (288, 384, 96, 96)
