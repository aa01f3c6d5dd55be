"""The counter of `tests.outcome` over two daemons: whatever happens, it is never off by one.

Run ``python -m tests.scaleout.counter --help`` in the root of the checkout.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.history import RULES, check, read_history
from tests.outcome.counter import Client, Counted, count, increments, prepare, values
from tests.postgresql.server import PostgreSQLServer

from .cluster import cluster, new_server
from .faults import FAULTS, disturb

__all__ = ["Campaign", "Result", "run"]


@dataclass
class Campaign:
    """One run.

    :ivar fault: a key of `FAULTS`.
    :ivar faults: how many of these.
    :ivar clients: how many there are.
    :ivar own: whether each client has a counter of its own.
    """

    fault: str
    faults: int = 30
    clients: int = 3
    own: bool = False
    keep_history: bool = True
    seed: int = 0


@dataclass
class Result:
    """What came of it.

    :ivar told: what each client was told.
    :ivar counters: the values in the end: what all clients were told, or each one.
    """

    told: list[Counted]
    counters: list[int]
    violations: list[str] = field(default_factory=list)

    @property
    def expected(self) -> list[int]:
        """What the counters have to be."""
        commits = [counted.commits for counted in self.told]
        return commits if len(self.counters) > 1 else [sum(commits)]

    @property
    def total(self) -> Counted:
        """What all clients were told."""
        total = Counted()
        for counted in self.told:
            total.add(counted)
        return total


def run(
    campaign: Campaign, directory: Path, server: PostgreSQLServer, timeout: float = 120.0
) -> Result:
    """Run a campaign in a new cluster."""
    numbers = range(campaign.clients)
    counters = [f"counter {number}" for number in numbers] if campaign.own else ["counter"]
    with cluster(directory, server, keep_history=campaign.keep_history) as running:
        prepare(running.addresses, counters)
        faults = disturb(campaign.fault, running, server, random.Random(campaign.seed))
        clients = [
            Client(running.addresses, counters[number % len(counters)]) for number in numbers
        ]
        try:
            told = count(
                clients,
                directory,
                lambda: faults.go_on(lambda: True, campaign.faults),
                campaign.keep_history,
                timeout,
            )
            result = Result(told, values(running.addresses, counters))
        finally:
            print(running.notable(), file=sys.stderr)
        if campaign.keep_history:
            rules = RULES if campaign.own else {**RULES, "increments": increments}
            history = read_history(directory.glob("*.history"))
            result.violations = list(map(str, check(history, running.transactions(), rules)))
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scaleout.counter", description=__doc__)
    default = Campaign("any")
    parser.add_argument("--fault", choices=sorted(FAULTS), default=default.fault)
    parser.add_argument("--faults", type=int, default=default.faults)
    parser.add_argument("--clients", type=int, default=default.clients)
    parser.add_argument("--own", action="store_true", help="a counter for each client")
    parser.add_argument("--history-free", dest="keep_history", action="store_false")
    parser.add_argument("--seed", type=int, default=0)
    campaign = Campaign(**vars(parser.parse_args()))
    with new_server() as server, tempfile.TemporaryDirectory() as directory:
        result = run(campaign, Path(directory), server)
    total = result.total
    print(
        f"{campaign.fault}: {campaign.faults} faults, {total.commits} commits, of which "
        f"{total.found} were found, {total.retries} retries, {total.in_doubt} in doubt, counters "
        f"{result.counters}, expected {result.expected}, {len(result.violations)} violations"
    )
    for violation in result.violations[:10]:
        print(violation, file=sys.stderr)
    right = result.counters == result.expected and not total.in_doubt and not result.violations
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
