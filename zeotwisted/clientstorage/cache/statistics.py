"""What a cache has done since it was opened."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CacheStatistics"]


@dataclass
class CacheStatistics:
    """Counters; ``dataclasses.asdict`` makes a dictionary of them."""

    hits: int = 0
    misses: int = 0
    stores: int = 0
    #: How many revisions were found to be out of date, or were forgotten.
    invalidations: int = 0
    evictions: int = 0
