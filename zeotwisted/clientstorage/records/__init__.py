"""The client's view of the database: loads, invalidations, prefetch and facts about the storage.

Every answer to a load and every invalidation goes through `coherence` into the cache.
Rule: an answer is in the cache before the invalidation that follows it on the wire is applied.
"""

from __future__ import annotations

from .coherence import Coherence
from .loads import load, revisions_of
from .reader import Reader
from .revisions import Revisions
from .storageinfo import StorageInfo

__all__ = [
    "Coherence",
    "Reader",
    "Revisions",
    "StorageInfo",
    "load",
    "revisions_of",
]
