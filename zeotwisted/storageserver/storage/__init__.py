"""One served storage, and what all its clients share.

`served` is the centre. Transactions take turns by `commitlock`, run in `committhread`, get their
ids from `tids` and are made known by `publications`; `invalidations` remembers them, and `changes`
reads from the storage what is not remembered any more.
Rule: every commit, of a client or from outside, is made known through `publications`, in order.
"""

from __future__ import annotations

from . import metadata
from .committhread import CommitThread
from .loads import load_many_before
from .metadata import stored_extension
from .publications import Publication
from .servable import NotServable, check_servable
from .served import Listener, ServedStorage
from .temporary import ensure_temporary_folder
from .threads import Threads

__all__ = [
    "CommitThread",
    "Listener",
    "NotServable",
    "Publication",
    "ServedStorage",
    "Threads",
    "check_servable",
    "ensure_temporary_folder",
    "load_many_before",
    "metadata",
    "stored_extension",
]
