"""Records that the server need not be asked for again, in memory or in a file.

`open_cache` chooses. `memory` has its records in `slots`; `file` consists of two `indexedlog`, each
on a `log` in one part of the file. `trace` may be in front of either.
Rule: a cache answers for one transaction id, and never returns a record that is older than that.
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
