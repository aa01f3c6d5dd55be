"""One served storage, and what all its clients share.

`served` uses all other modules; the clients are its `audience`. A transaction gets the
`commitlock`, runs in the `committhread`, and has a transaction id from `tids`. `publications`
notifies the clients of it. `invalidations` keeps the oids of the last transactions; `changes` reads
older ones from the storage. `resolution` resolves conflicts with the `allowedclasses`, and
`recordscan` looks at records before. `packing` has the packs, `packtime` what clients may ask for.
`records` loads records: from the `recordcache`, or with `loads`. `status` has the counts for
reports, `readers` knows who reads the log, and `sizes` asks for sizes without waiting.
Rule: the clients are notified of every commit through `publications`, in order. This is true of a
client's commit and of one from outside.
"""

from __future__ import annotations

from . import metadata
from .allowedclasses import default_classes
from .committhread import CommitThread
from .listener import Listener
from .loads import MOST_LOADS, load_many_before
from .metadata import stored_extension
from .packing import PackInterrupted
from .publications import Publication
from .recordscan import names_its_class_plainly
from .resolution import LeftToClient
from .served import ServedStorage
from .status import StorageStats
from .temporary import ensure_blob_folder, ensure_temporary_folder
from .threads import InThread, Threads
from .usable import make_room, restore, why_unusable
from .verification import Verification

__all__ = [
    "MOST_LOADS",
    "CommitThread",
    "InThread",
    "LeftToClient",
    "Listener",
    "PackInterrupted",
    "Publication",
    "ServedStorage",
    "StorageStats",
    "Threads",
    "Verification",
    "default_classes",
    "ensure_blob_folder",
    "ensure_temporary_folder",
    "load_many_before",
    "make_room",
    "metadata",
    "names_its_class_plainly",
    "restore",
    "stored_extension",
    "why_unusable",
]
