"""An application's exercise at growing concurrency: ``python -m benchmarks.exercise --help``."""

from __future__ import annotations

import sys

from .measures.exercise import EXERCISES
from .program import main

if __name__ == "__main__":
    sys.exit(main(EXERCISES, "python -m benchmarks.exercise", __doc__))
