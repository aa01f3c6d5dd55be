"""Prints what was tried: ``python -m tests.anomaly [--all] [NAME ...]``.

A name is the beginning of the name of an operation.
"""

from __future__ import annotations

import argparse
import logging
import time

from twisted.logger import globalLogBeginner

from .loops import fail_all, kill_all
from .tables import ALL_FAULTS, ALL_KILLS, FAULTS, KILLS, OPERATIONS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.anomaly")
    parser.add_argument("--all", action="store_true", help="try more kinds of faults")
    parser.add_argument("names", nargs="*", help="the operations; all by default")
    arguments = parser.parse_args()
    # Each fault is logged, as it should be.
    logging.getLogger().addHandler(logging.NullHandler())
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    faults, kills = (ALL_FAULTS, ALL_KILLS) if arguments.all else (FAULTS, KILLS)
    print(f"{'operation':26}{'steps':>8}{'faults':>8}{'kills':>8}{'seconds':>9}")
    for kind in OPERATIONS:
        if not arguments.names or kind.name.startswith(tuple(arguments.names)):
            began = time.perf_counter()
            failed, killed = fail_all(kind, faults), kill_all(kind, kills)
            took = time.perf_counter() - began
            print(
                f"{kind.name:26}{failed.steps:8}{failed.attempts:8}{killed.attempts:8}{took:9.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
