"""What the clients of one storage share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from .allowance import Allowance
from .changes import Changes
from .rates import Rates
from .successors import Successors

__all__ = ["Common", "Find", "successor_kind", "successor_rate"]

#: Returns the current revision of an object if it is before a tid: the data, the serial, None. None
#: if there is none, or if it takes too long to find out.
Find: TypeAlias = "Callable[[bytes, bytes], tuple[bytes, bytes, None] | None]"


class Common(NamedTuple):
    """What the clients of one storage share."""

    #: Finds a record.
    find: Find
    #: What was learned from all of them.
    rates: Rates
    #: What they have used after what.
    successors: Successors
    #: The time that guesses may take.
    allowance: Allowance
    #: What has changed lately.
    changes: Changes


def successor_kind(count: int) -> tuple[str, int]:
    """Return the kind, for `Rates`, of what was so many times used after something."""
    return "successor", count


def successor_rate(rates: Rates, count: int) -> float:
    """Return how probable it is that this comes true again.

    What has come true more often is at least as probable as what has come true once.
    """
    rate = 0.5
    for each in range(1, count + 1):
        rate = rates.rate(successor_kind(each), rate)
    return rate
