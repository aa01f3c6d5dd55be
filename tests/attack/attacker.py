"""The attacker's process: ``python -m tests.attack.attacker NAME ADDRESS SCALE``.

The address is JSON. It writes a line when the attack stands, and goes on until its standard input
ends.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path

from .attacks import ATTACKS
from .peers import Address

_ROOT = Path(__file__).parents[2]

#: How long (seconds) the attacker rests after each step. It shares two processors with its victim.
_REST = 0.1


class Attacker:
    """Runs one attack in another process."""

    def __init__(self, name: str, address: Address, scale: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, name, json.dumps(address), str(scale)],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def wait(self, seconds: float) -> None:
        """Wait until the attack stands.

        :raises TimeoutError: it does not, in so many seconds.
        """
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not readable:
            raise TimeoutError(f"the attack does not stand after {seconds} seconds")
        assert self._process.stdout.readline() == b"ready\n", "the attacker has failed"

    def stop(self) -> None:
        """End the attack. All of its connections are closed."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def main(name: str, address: str, scale: str) -> None:
    where = json.loads(address)
    attack = ATTACKS[name](where if isinstance(where, str) else tuple(where), float(scale))
    next(attack)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], _REST)[0]:
        next(attack)


if __name__ == "__main__":
    main(*sys.argv[1:])
