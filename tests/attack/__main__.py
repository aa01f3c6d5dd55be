"""``python -m tests.attack [NAME ...]``: mount the attacks, and print what they do."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from .attacks import ATTACKS
from .siege import Outcome, Siege
from .victim import Victim

#: How long (seconds) to watch the clients before and during each attack.
_SECONDS = 4.0

_HEAD = f"{'attack':24}{'load':>12}{'commit':>13}{'connect':>13}{'failed':>8}"
_HEAD += f"{'descriptors':>18}{'threads':>14}{'MB':>16}  limits that were reached"


def row(outcome: Outcome) -> str:
    """Return the line of the table for an attack."""
    cells = [f"{outcome.name:24}"]
    for kind, width in (("load", 12), ("commit", 13), ("connect", 13)):
        ratio = outcome.ratios.get(kind, 0.0)
        cells.append(f"{outcome.before.medians[kind] * 1000:.2f} x{ratio:.1f}".rjust(width))
    cells.append(f"{len(outcome.during.failures):8}")
    states = (outcome.idle, outcome.worst, outcome.left)
    for number, width in enumerate((18, 14, 16)):
        cells.append(" ".join(str(state[number]) for state in states).rjust(width))
    struck = ", ".join(f"{key} {number}" for key, number in sorted(outcome.struck.items()))
    return "".join(cells) + "  " + struck


def main(names: list[str]) -> None:
    """Mount the attacks with these names, or all."""
    print(
        "Median of the clients' calls in ms before the attack, and how many times more during it;"
    )
    print("calls that failed; and what the daemon uses: before, during, after the attack.\n")
    with tempfile.TemporaryDirectory() as folder:
        alone = Victim(Path(folder))
        alone.limits()
        quick = alone.stop()
    with tempfile.TemporaryDirectory() as folder:
        siege = Siege(Path(folder), _SECONDS)
        print(_HEAD)
        try:
            for name in names or ATTACKS:
                print(row(siege.attack(name)), flush=True)
        finally:
            took = siege.end()
        print(f"\nstopped in {took:.2f} s; a daemon without attacks in {quick:.2f} s")
        print("\nThe daemon's log:")
        lines = siege.victim.log.splitlines()
        print(
            "\n".join(line[:160] for line in lines if "refused" in line or "limit" in line)[:4000]
        )


if __name__ == "__main__":
    main(sys.argv[1:])
