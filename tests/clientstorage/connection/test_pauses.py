"""The pauses between attempts to connect."""

from __future__ import annotations

import pytest

from zeotwisted.clientstorage.connection.pauses import pause


@pytest.mark.parametrize(
    ("failures", "shortest"), [(0, 0.5), (1, 0.75), (2, 1.125), (4, 2.0), (1000000, 2.0)]
)
def test_each_one_is_longer_up_to_a_limit(failures: int, shortest: float) -> None:
    assert shortest <= pause(failures) <= shortest + 1


def test_clients_do_not_come_at_the_same_time() -> None:
    assert len({pause(3) for _ in range(20)}) > 1
