"""How many seeds it takes to find the mutants of the ordering rules, of which no world knows.

``python -m tests.simulation.mutants --seeds 100`` breaks each rule in a copy of the source, as
``tests/ordering/test_mutants.py`` does, and runs worlds until one fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.ordering.test_mutants import FURTHER, MUTANTS, ROOT, Mutant

__all__ = ["seeds_until_found"]


def seeds_until_found(mutant: Mutant, seeds: int, jobs: int) -> tuple[int | None, str]:
    """Return how many seeds were run until one failed, and what it said; None if none did."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("zeotwisted", "tests"):
            shutil.copytree(ROOT / name, copy / name)
        changes = [(mutant.file, mutant.original, mutant.broken), *FURTHER.get(mutant.rule, [])]
        for file, original, broken in changes:
            path = copy / "zeotwisted" / file
            path.write_text(path.read_text().replace(original, broken))
        command = [sys.executable, "-m", "tests.simulation", "--until-failure"]
        command += ["--seeds", str(seeds), "--jobs", str(jobs)]
        result = subprocess.run(
            command,
            cwd=copy,
            env=os.environ | {"PYTHONPATH": folder},
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode == 0:
        return None, ""
    found = re.search(r"^seed (\d+) fails.*\n(.*)", result.stdout, re.MULTILINE)
    assert found is not None, result.stdout + result.stderr
    return int(found[1]), found[2].strip()


def main() -> None:
    """Print a table: the mutant, how many seeds until it was found, and by what."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many to try (default: 100)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument("--only", default="", help="only rules with this text")
    options = parser.parse_args()
    found = 0
    mutants = [mutant for mutant in MUTANTS if options.only in mutant.rule]
    for mutant in mutants:
        seeds, how = seeds_until_found(mutant, options.seeds, options.jobs)
        found += seeds is not None
        print(f"{mutant.rule:75} {'-' if seeds is None else seeds:>5}  {how[:100]}", flush=True)
    print(f"{found} of {len(mutants)} mutants found, with at most {options.seeds} seeds for each")


if __name__ == "__main__":
    main()
