"""What a measure is, and what all of them need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ZODB.utils import p64, u64

from ..figures import Figure
from ..stage import Stage

__all__ = ["Measure", "before", "check_size", "percentile"]


@dataclass(frozen=True)
class Measure:
    """Something that contenders do, once in each round.

    :ivar play: has daemon and clients do it, and returns a value for each of the figures.
    :ivar needs: what a contender must not lack.
    """

    name: str
    play: Callable[[Stage], dict[str, float]]
    figures: tuple[Figure, ...]
    needs: frozenset[str] = frozenset()


def before(storage: Any) -> bytes:
    """What a ZODB connection asks for: the newest state as of the last transaction."""
    return p64(u64(storage.lastTransaction()) + 1)


def check_size(loaded: Any, size: int) -> None:
    if loaded is None or len(loaded[0]) != size:
        raise RuntimeError("loaded something else than what was stored")


def percentile(values: Sequence[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]
