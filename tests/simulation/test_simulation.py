"""Some hundred worlds, and that a seed decides everything.

The simulation runs in a process of its own, as it replaces Python's threads.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

SEEDS = 200


def simulate(*arguments: str) -> str:
    """Run the command; return what it prints. It must find nothing."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.timeout(1200)
def test_worlds() -> None:
    assert f"{SEEDS} seeds" in simulate("--seeds", str(SEEDS))


def test_a_seed_repeats_exactly() -> None:
    def trace() -> list[str]:
        return simulate("--seed", "10").splitlines()[:-1]

    first = trace()
    assert any("fault: " in line for line in first)
    assert first == trace()
