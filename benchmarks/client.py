"""A client's process: ``python -m benchmarks.client MAKE MEASURE HOST PORT SEED``.

Prints the durations in seconds, as JSON on one line.
"""

from __future__ import annotations

import json
import os
import sys

from .contenders import open_client
from .measures import MEASURES


def main() -> None:
    make, measure_name, host, port, seed = sys.argv[1:]
    measure = MEASURES[measure_name]
    blob_dir = os.path.abspath("cache") if measure.blobs else None
    storage = open_client(make, (host, int(port)), measure.cache_size, blob_dir)
    try:
        durations = measure.run(storage, int(seed))
    finally:
        storage.close()
    print(json.dumps(durations), flush=True)


if __name__ == "__main__":
    main()
