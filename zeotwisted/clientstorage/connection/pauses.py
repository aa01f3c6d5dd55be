"""How long a client waits between two attempts to connect."""

from __future__ import annotations

import random

__all__ = ["pause"]

#: The first pause (seconds), and by how much each further one is longer.
_FIRST = 0.5
_FACTOR = 1.5

#: The longest one. It is short, so that clients do not wait long after a server has restarted.
_LONGEST = 2.0

#: Up to so much (seconds) comes on top, so that many clients do not connect at the same time.
_SPREAD = 1.0


def pause(failures: int) -> float:
    """Return how long (seconds) to wait before the next attempt.

    :param failures: how many attempts have failed before the last one.
    """
    delay = _FIRST
    while failures and delay < _LONGEST:
        delay *= _FACTOR
        failures -= 1
    return min(delay, _LONGEST) + random.uniform(0, _SPREAD)
