"""Counters of a cache since it was opened."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["CacheStatistics", "statistics_of"]


@dataclass
class CacheStatistics:
    """Counters; ``dataclasses.asdict`` makes a dictionary of them."""

    hits: int = 0
    misses: int = 0
    stores: int = 0
    #: How many objects were invalidated or forgotten, also objects that were not in the cache.
    invalidations: int = 0
    evictions: int = 0


def statistics_of(cache: Any) -> dict[str, int]:
    """Return counters of a cache since it was opened, and of its content.

    The result is empty for a cache object of the application's that has no such counters.
    """
    statistics = getattr(cache, "statistics", None)
    if statistics is None:
        return {}
    return {**asdict(statistics), "entries": len(cache), "bytes": cache.used}
