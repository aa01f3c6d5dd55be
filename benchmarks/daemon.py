"""A daemon's process: ``python -m benchmarks.daemon MAKE PATH [BLOB_DIR]``.

Prints its address as JSON on one line and serves until its standard input ends, so that it
goes away with the process that started it, however that one ends.
"""

from __future__ import annotations

import json
import sys

from .makes import start_daemon


def main() -> None:
    make, path, *blob_dir = sys.argv[1:]
    address, stop = start_daemon(make, path, *blob_dir)
    print(json.dumps(address), flush=True)
    sys.stdin.read()
    stop()


if __name__ == "__main__":
    main()
