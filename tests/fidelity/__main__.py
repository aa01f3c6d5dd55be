"""``python -m tests.fidelity [SWAP ...]``: print how many of ZEO's tests pass.

A swap is one of ``stock``, ``daemon`` and ``client``; by default, all of them.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

from .expectations import Verdict, judge
from .run import Outcome, groups, run
from .swaps import SWAPS

#: The tests wait more than they compute.
_AT_ONCE = 4


def main(swaps: list[str]) -> int:
    names = groups()
    problems: list[str] = []
    print(f"{'swap':8}{'tests':>8}{'passed':>8}{'listed':>8}{'unexpected':>12}")
    for swap in swaps:
        outcomes: dict[str, Outcome] = {}
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for part in pool.map(run, repeat(swap), names):
                outcomes |= part
        passed = sum(outcome.passed for outcome in outcomes.values())
        verdict: Verdict = judge(swap, outcomes)
        print(
            f"{swap:8}{len(outcomes):8}{passed:8}{verdict.listed:8}{len(verdict.problems):12}",
            flush=True,
        )
        problems += (f"{swap}: {problem}" for problem in verdict.problems)
    print("\n".join(["", *problems]) if problems else "")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(SWAPS)))
