"""The client's cache of records, in memory or in a file.

`open_cache` chooses. `memory` has its records in `slots`. `file` has two `indexedlog`, each on a
`log` in one part of the file. `trace` may wrap either.
Rule: a cache is up to date as of its last tid, and never returns as current an older revision.
"""

from __future__ import annotations

from .diskfile import CacheFileError
from .memory import ClientCache
from .opening import open_cache
from .statistics import statistics_of

__all__ = [
    "CacheFileError",
    "ClientCache",
    "open_cache",
    "statistics_of",
]
