"""Each step by which we reach the disk fails, or is the last one before a kill."""

from __future__ import annotations

import pytest

from .loops import Operation, fail_all, kill_all
from .tables import FAULTS, KILLS, OPERATIONS


def _name(kind: type[Operation]) -> str:
    return kind.name


@pytest.mark.parametrize("kind", OPERATIONS, ids=_name)
def test_each_step_fails(kind: type[Operation]) -> None:
    tried = fail_all(kind, FAULTS)
    print(tried)
    assert tried.attempts > tried.steps


@pytest.mark.parametrize("kind", OPERATIONS, ids=_name)
def test_the_process_is_killed_at_each_step(kind: type[Operation]) -> None:
    tried = kill_all(kind, KILLS)
    print(tried)
    # Nothing is written to send a blob.
    assert tried.attempts or kind.name == "blob sent"
