"""How long the models are tried: the files ``test_*_model.py``.

A model is a naive description of a part of the product. Hypothesis makes sequences of steps, does
each one to the product and to the model, and compares them. In the usual run of the tests the
sequences are few, and always the same. ``python -m tests.models 100`` tries a hundred times as many
new ones; more arguments go to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

#: How many times more sequences to try than usual.
_TIMES = "MODELS_TIMES"


def effort(examples: int, steps: int) -> settings:
    """Return the settings of a model.

    :param examples: how many sequences are tried in the usual run of the tests.
    :param steps: how many steps a sequence has at most.
    """
    times = int(os.environ.get(_TIMES, "1"))
    return settings(
        max_examples=examples * times,
        stateful_step_count=steps,
        derandomize=times == 1,
        database=None,
        deadline=None,
        print_blob=times > 1,
        suppress_health_check=list(HealthCheck),
    )


def main() -> int:
    """Try all models for long."""
    times, *more = sys.argv[1:] or ["100"]
    files = sorted(str(path) for path in Path(__file__).parent.rglob("test_*_model.py"))
    command = [sys.executable, "-m", "pytest", "-q", "--timeout=0", *files, *more]
    return subprocess.run(command, env=os.environ | {_TIMES: times}).returncode


if __name__ == "__main__":
    sys.exit(main())
