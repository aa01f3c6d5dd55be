"""The race of `tests.race` over two daemons: whatever happens to them, nothing torn is ever seen.

Run ``python -m tests.scaleout.race --help`` in the root of the checkout.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.postgresql.server import PostgreSQLServer
from tests.race.equalpair import Place, Race, Seen
from tests.race.equalpair import run as run_race

from .cluster import Cluster, cluster, new_server
from .faults import FAULTS, disturb

__all__ = ["run"]


def run(
    race: Race,
    directory: Path,
    server: PostgreSQLServer,
    fault: str | None = None,
    keep_history: bool = True,
    seed: int = 0,
    timeout: float | None = 120.0,
    installs: bool = True,
) -> tuple[Seen, int]:
    """Run a race in a new cluster; return what was seen, and how many faults there were.

    Without faults each process knows one daemon only, one after the other in turn.

    :param fault: a key of `FAULTS`.
    :param installs: whether the database tells of commits; if not, daemons ask.
    """
    options = {"keep_history": keep_history, "installs": installs}
    with cluster(directory, server, **options) as running:
        addresses = running.addresses if fault is None else _ways(running)
        place = Place(addresses, running.transactions if keep_history else None)
        faults = disturb(fault, running, server, random.Random(seed))
        try:
            return run_race(race, directory, timeout, place, faults.go_on), faults.count
        finally:
            print(running.notable(), file=sys.stderr)


def _ways(running: Cluster) -> list[list[tuple[str, int]]]:
    return [running.addresses, running.addresses[::-1]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scaleout.race", description=__doc__)
    parser.add_argument("--transactions", type=int, default=1000, help="of each writer")
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--client", choices=("zeotwisted", "ZEO"), default="zeotwisted")
    parser.add_argument("--fault", choices=sorted(FAULTS))
    parser.add_argument("--history-free", dest="keep_history", action="store_false")
    parser.add_argument("--not-installed", dest="installs", action="store_false")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    race = Race(
        client=options.client,
        transactions=options.transactions,
        writers=options.writers,
        readers=options.readers,
    )
    with new_server() as server, tempfile.TemporaryDirectory() as directory:
        seen, faults = run(
            race,
            Path(directory),
            server,
            options.fault,
            options.keep_history,
            options.seed,
            None,
            options.installs,
        )
    print(
        f"{options.client} clients, {options.fault or 'no'} faults: {faults}; {seen.commits} "
        f"commits, {seen.comparisons} comparisons, {seen.differences} differences, "
        f"{len(seen.violations)} violations"
    )
    for violation in seen.violations[:10]:
        print(violation, file=sys.stderr)
    return 1 if seen.differences or seen.violations else 0


if __name__ == "__main__":
    raise SystemExit(main())
