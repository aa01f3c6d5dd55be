"""What a cache has done since it was opened."""

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
    #: How many revisions were found to be out of date, or were forgotten.
    invalidations: int = 0
    evictions: int = 0


def statistics_of(cache: Any) -> dict[str, int]:
    """Return what a cache has done since it was opened, and what is in it.

    Empty if it is a cache object that does not count in our way.
    """
    statistics = getattr(cache, "statistics", None)
    if statistics is None:
        return {}
    return {**asdict(statistics), "entries": len(cache), "bytes": cache.used}
