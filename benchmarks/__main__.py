"""Run the contenders in turn and report: ``python -m benchmarks --help``."""

from __future__ import annotations

import sys

from .measures import MEASURES
from .program import main

if __name__ == "__main__":
    sys.exit(main(MEASURES, "python -m benchmarks", __doc__))
