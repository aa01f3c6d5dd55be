"""How long after the answer to a commit do clients of another daemon know of it?

Run ``python -m tests.scaleout.latency [COMMITS]`` in the root of the checkout, on an idle machine.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from .cluster import cluster, new_server
from .conftest import Application

__all__ = ["measure"]


def measure(first: Application, other: Application, commits: int) -> list[float]:
    """Return the delays in seconds: negative if the other client knew of it before the answer."""
    noted: dict[bytes, float] = {}
    changed = threading.Condition()
    coherence: Any = other.storage._coherence
    invalidate = coherence.invalidate

    def note(tid: bytes, oids: Any) -> None:
        invalidate(tid, oids)
        with changed:
            noted[tid] = time.perf_counter()
            changed.notify_all()

    coherence.invalidate = note
    delays = []
    for value in range(commits):
        first.set("value", value)
        answered = time.perf_counter()
        tid = first.storage.lastTransaction()
        with changed:
            if not changed.wait_for(lambda wanted=tid: wanted in noted, 30):
                raise RuntimeError("a commit was not told")
        delays.append(noted[tid] - answered)
    return delays


def main() -> None:
    commits = int(sys.argv[1]) if sys.argv[1:] else 1000
    with (
        new_server() as server,
        tempfile.TemporaryDirectory() as directory,
        cluster(Path(directory), server) as running,
    ):
        first, other = (Application([address]) for address in running.addresses)
        measure(first, other, 20)
        delays = sorted(1000 * delay for delay in measure(first, other, commits))
        first.close()
        other.close()
    print(
        f"{commits} commits: p50 {median(delays):.2f} ms, p99 {quantiles(delays, n=100)[98]:.2f} "
        f"ms, most {delays[-1]:.2f} ms after the answer"
    )


if __name__ == "__main__":
    main()
