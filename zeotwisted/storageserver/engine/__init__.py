"""Between a served storage and what it serves: who else may commit, and how that is noticed.

`single` serves a storage that only this daemon changes, or that reports all changes by itself.
`upstream` serves a client of another server. `mvcc` serves any `IMVCCStorage`, which other
processes change, too: it reads through `instances` of the storage, and its `newsreader` asks for
what has changed. `choose_engine` chooses.
Rule: clients are told of the transactions of a shared storage by the news reader alone, in the
order of the database, also of their own.
"""

from __future__ import annotations

from .engine import Engine, News, OwnCommit, Records, Remote
from .failures import DatabaseFailed, translated
from .servable import NotServable, check_servable, choose_engine
from .single import Single

__all__ = [
    "DatabaseFailed",
    "Engine",
    "News",
    "NotServable",
    "OwnCommit",
    "Records",
    "Remote",
    "Single",
    "check_servable",
    "choose_engine",
    "translated",
]
