"""``zeotwisted ping``: connects as a client does, and measures round trips."""

from __future__ import annotations

import argparse
import json
import time

from .connecting import connected
from .errors import CommandError
from .target import add_connection, add_json, add_login, target

__all__ = ["SUMMARY", "configure", "run"]

SUMMARY = "Connect as a client, and measure round trips"

#: How many round trips there may be.
_MOST = 1_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_connection(parser)
    add_login(parser)
    add_json(parser)
    parser.add_argument(
        "--count", metavar="NUMBER", type=int, default=10, help="how many [default: 10]"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure; print one line; return the exit code."""
    where = target(arguments)
    if not 0 < arguments.count <= _MOST:
        raise CommandError(f"--count: write a number from 1 to {_MOST}")
    begin = time.perf_counter()
    with connected(where) as client:
        joined = time.perf_counter() - begin
        times = []
        for _ in range(arguments.count):
            begin = time.perf_counter()
            client.ping()
            times.append(time.perf_counter() - begin)
        version = client.protocol_version.decode("ascii")
    times.sort()
    median = times[len(times) // 2]
    figures = {
        "address": where.text,
        "storage": where.storage,
        "protocol": version,
        "connected": joined,
        "count": len(times),
        "least": times[0],
        "median": median,
        "most": times[-1],
    }
    if arguments.json:
        print(json.dumps(figures))
    else:
        print(
            f"{where.text} (storage {where.storage}, protocol {version}): "
            f"connected in {1000 * joined:.1f} ms; {len(times)} round trips: "
            f"least {1000 * times[0]:.2f}, median {1000 * median:.2f}, "
            f"most {1000 * times[-1]:.2f} ms"
        )
    return 0
