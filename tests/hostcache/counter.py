"""Look for commits through hosts' daemons that are counted wrongly: ``python -m
tests.hostcache.counter --help`` in the root of the checkout.

Processes of two hosts, and one that uses the daemon with the storage itself, increment a counter.
Meanwhile one daemon after the other is killed, and started again; or the line between a host and
the daemon with the storage is cut, at some message of some commit. Each process counts the commits
that it was told of, and records what it read and wrote; see `tests.outcome` and `tests.history`.
"""

from __future__ import annotations

import argparse
import operator
import random
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import zeotwisted
from tests.history import RULES, check, read_history, transactions_of
from tests.outcome.counter import Client, Counted, count, increments, prepare, values
from tests.outcome.cutter import Cutter

from . import site

__all__ = ["Campaign", "Result", "run"]

#: What may be killed, or cut.
_VICTIMS = ("upstream", "host", "line")


@dataclass
class Campaign:
    """One run.

    :ivar victims: what is killed, or cut.
    :ivar faults: how often.
    """

    victims: tuple[str, ...] = _VICTIMS
    faults: int = 20
    seed: int = 0


@dataclass
class Result:
    """What came of it.

    :ivar counter: the counter's value in the end; it has to be `counted.commits`.
    :ivar violations: what is wrong in the records of the processes.
    """

    counter: int
    counted: Counted
    violations: list[str]


def run(campaign: Campaign, folder: Path) -> Result:
    """Run a campaign in new processes, with a new database in `folder`."""
    chance = random.Random(campaign.seed)
    with ExitStack() as stack:
        upstream = site.upstream(folder)
        stack.callback(upstream.kill)
        cutter = Cutter(upstream.address, random.Random(campaign.seed), "line" in campaign.victims)
        stack.callback(cutter.close)
        hosts = []
        for number in range(2):
            place = folder / f"host{number}"
            place.mkdir()
            hosts.append(site.host(place, cutter.address, address="127.0.0.1:0"))
            stack.callback(hosts[-1].kill)
        prepare(upstream.address, ["counter"])

        def disturb() -> None:
            for _ in range(campaign.faults):
                victim = chance.choice(campaign.victims)
                if victim == "line":
                    cutter.cut(1)
                    continue
                daemon = upstream if victim == "upstream" else chance.choice(hosts)
                # The processes need some time to come back, and are to be in the midst of commits.
                time.sleep(chance.uniform(0.1, 1.0))
                daemon.kill()
                time.sleep(chance.choice((0.0, 0.3)))
                daemon.start()

        addresses = [hosts[0].address, hosts[0].address, hosts[1].address, upstream.address]
        total = Counted()
        for counted in count([Client(each) for each in addresses], folder, disturb):
            total.add(counted)
        history = read_history(folder.glob("*.history"))
        with closing(zeotwisted.client(upstream.address, wait_timeout=60)) as storage:
            transactions = sorted(transactions_of(storage), key=operator.attrgetter("tid"))
            rules = {**RULES, "increments": increments}
            violations = list(map(str, check(history, transactions, rules)))
        (value,) = values(upstream.address, ["counter"])
        return Result(value, total, violations)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostcache.counter", description=__doc__)
    default = Campaign()
    parser.add_argument("--victims", nargs="+", choices=_VICTIMS, default=default.victims)
    parser.add_argument("--faults", type=int, default=default.faults)
    parser.add_argument("--seed", type=int, default=default.seed)
    options = parser.parse_args()
    campaign = Campaign(tuple(options.victims), options.faults, options.seed)
    with tempfile.TemporaryDirectory() as folder:
        result = run(campaign, Path(folder))
    counted = result.counted
    print(
        f"{' and '.join(campaign.victims)} killed or cut: {campaign.faults} times, "
        f"{counted.commits} commits, of which {counted.found} were found, "
        f"{counted.retries} retries, {counted.in_doubt} in doubt, counter {result.counter}, "
        f"{len(result.violations)} violations"
    )
    for violation in result.violations:
        print(violation, file=sys.stderr)
    right = result.counter == counted.commits and not counted.in_doubt and not result.violations
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
