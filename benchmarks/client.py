"""A client's process: ``python -m benchmarks.client ORDER``, where ORDER is JSON.

It opens a storage and calls the function that the order names, a generator. What comes before its
first ``yield`` is preparation. Then the process prints a line, and waits for a byte. What comes
until the next ``yield``, or the end, is measured. The result is printed as JSON on one line; then
comes the next part, if there is one. The end of the standard input ends the process.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import IO, Any

from .makes import open_client
from .usage import most_memory


@contextmanager
def _storage(order: dict[str, Any]) -> Iterator[Any]:
    """Open what the order wants to be opened: the parts that connect themselves get the order."""
    if order["options"] is None:
        yield order
        return
    storage = open_client(order["make"], order["address"], **order["options"])
    try:
        yield storage
    finally:
        storage.close()


def _play(part: Generator[Any, None, Any], output: IO[str]) -> None:
    next(part)
    print("ready", file=output, flush=True)
    more = True
    while more and os.read(0, 1):
        cpu = time.process_time()
        start = time.perf_counter()
        try:
            result = next(part)
        except StopIteration as stop:
            result = stop.value
            more = False
        end = time.perf_counter()
        performance = {
            "result": result,
            "start": start,
            "end": end,
            "cpu": time.process_time() - cpu,
            "peak": most_memory(os.getpid()),
        }
        print(json.dumps(performance), file=output, flush=True)
    # What a client that goes gives to do is not measured.
    while os.read(0, 1):
        pass


def main() -> None:
    # A library may print something of its own; it shall not come between.
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    order = json.loads(sys.argv[1])
    function = getattr(importlib.import_module(order["module"]), order["function"])
    with _storage(order) as storage:
        _play(function(storage, **order["arguments"]), output)


if __name__ == "__main__":
    main()
