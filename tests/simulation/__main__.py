"""The command: run many seeds, or one."""

# ruff: noqa: E402

from __future__ import annotations

import os
import sys

if os.environ.get("PYTHONHASHSEED") != "0":
    # The order of sets depends on it, and a seed has to decide everything.
    command = [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
    os.execve(sys.executable, command, os.environ | {"PYTHONHASHSEED": "0"})

from . import interrupts, threads

threads.install()
interrupts.install()

import argparse
import time
from collections.abc import Sequence

from .seeds import run_seeds


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code: 0 if all is well."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--first", type=int, default=1, help="the first one (default: 1)")
    parser.add_argument("--seed", type=int, help="run only this one, and show what happens")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--until-failure", action="store_true", help="stop at the first failure")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    else:
        seeds = range(options.first, options.first + options.seeds)
    begun = time.monotonic()
    failed, steps, commits, faults = [], 0, 0, 0
    for result in run_seeds(seeds, options.jobs):
        steps += result.steps
        commits += result.commits
        faults += result.faults
        if options.seed is not None:
            print("\n".join(result.trace))
            print(f"digest {result.digest}")
        if result.problems:
            failed.append(result.seed)
            print(f"seed {result.seed} fails after {result.steps} steps:")
            for problem in result.problems:
                print(f"  {problem}")
            if options.until_failure:
                break
    seconds = time.monotonic() - begun
    print(
        f"{len(seeds)} seeds, {len(seeds) / seconds * 60:.0f} a minute; {steps} steps, "
        f"{commits} transactions, {faults} faults"
    )
    if failed:
        print(f"failed: {', '.join(map(str, failed))}; repeat one with --seed NUMBER")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
