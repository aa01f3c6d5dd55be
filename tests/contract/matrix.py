"""What is run: which of ZODB's test classes, against which daemons, with which clients."""

from __future__ import annotations

import os
from typing import NamedTuple

from ZODB.tests import (
    BasicStorage,
    ConflictResolution,
    HistoryStorage,
    IteratorStorage,
    MTStorage,
    PackableStorage,
    PersistentStorage,
    ReadOnlyStorage,
    RecoveryStorage,
    RevisionStorage,
    Synchronization,
    TransactionalUndoStorage,
)


class Pairing(NamedTuple):
    """Whose client talks to whose server. Both are names of packages with ZEO's functions."""

    client: str
    server: str
    #: What they are expected to agree upon.
    protocol: bytes
    #: Lines for the server's ``<zeo>`` section.
    options: tuple[str, ...] = ()
    #: Whether they speak TLS. What is different then is below the protocol, so few classes do.
    tls: bool = False


MSGPACK = ("msgpack true",)

PAIRINGS = {
    "ours": Pairing("zeotwisted", "zeotwisted", b"M6"),
    "zeo_client_z5": Pairing("ZEO", "zeotwisted", b"Z5"),
    "zeo_client_m5": Pairing("ZEO", "zeotwisted", b"M5", MSGPACK),
    "zeo_server_z5": Pairing("zeotwisted", "ZEO", b"Z5"),
    "zeo_server_m5": Pairing("zeotwisted", "ZEO", b"M5", MSGPACK),
    "tls": Pairing("zeotwisted", "zeotwisted", b"M6", tls=True),
    "tls_zeo_client_z5": Pairing("ZEO", "zeotwisted", b"Z5", tls=True),
    "tls_zeo_server_m5": Pairing("zeotwisted", "ZEO", b"M5", MSGPACK, tls=True),
    "baseline_z5": Pairing("ZEO", "ZEO", b"Z5"),
    "baseline_m5": Pairing("ZEO", "ZEO", b"M5", MSGPACK),
}

#: Backend -> the names of the pairings that it is run with.
MATRIX: dict[str, tuple[str, ...]] = {
    "filestorage": (
        "ours",
        "zeo_client_z5",
        "zeo_client_m5",
        "zeo_server_z5",
        "zeo_server_m5",
        "tls",
        "tls_zeo_client_z5",
        "tls_zeo_server_m5",
    ),
    "mappingstorage": ("ours",),
    "demostorage": ("ours",),
    "demostorage_on_file": ("ours",),
    "mvccmappingstorage": ("ours",),
    "relstorage": ("ours",),
    "relstorage_without_history": ("ours",),
    "relstorage_postgresql": ("ours", "zeo_client_z5"),
    "relstorage_postgresql_without_history": ("ours",),
}

if os.environ.get("CONTRACT_BASELINE"):
    MATRIX = dict.fromkeys(MATRIX, ("baseline_z5",))
    MATRIX["filestorage"] += ("baseline_m5",)

CONFLICTS = (
    ConflictResolution.ConflictResolvingStorage,
    ConflictResolution.ConflictResolvingTransUndoStorage,
)

#: BasicStorage is a subclass of racetest.RaceTests, PackableStorageWithOptionalGC one of
#: PackableStorage, and RecoveryStorage one of IteratorDeepCompare, which has no case of its own.
CLASSES = (
    BasicStorage.BasicStorage,
    RevisionStorage.RevisionStorage,
    PackableStorage.PackableStorageWithOptionalGC,
    PackableStorage.PackableUndoStorage,
    Synchronization.SynchronizedStorage,
    *CONFLICTS,
    HistoryStorage.HistoryStorage,
    IteratorStorage.IteratorStorage,
    IteratorStorage.ExtendedIteratorStorage,
    MTStorage.MTStorage,
    ReadOnlyStorage.ReadOnlyStorage,
    RecoveryStorage.RecoveryStorage,
    TransactionalUndoStorage.TransactionalUndoStorage,
    PersistentStorage.PersistentStorage,
)

TLS_CLASSES = (
    IteratorStorage.IteratorStorage,
    MTStorage.MTStorage,
    PackableStorage.PackableUndoStorage,
    TransactionalUndoStorage.TransactionalUndoStorage,
)

#: Lines of the matrix, by backend and pairing, that are run with a few classes only.
FEW_CLASSES: dict[tuple[str, str], tuple[type, ...]] = {
    ("mvccmappingstorage", "ours"): (
        BasicStorage.BasicStorage,
        RevisionStorage.RevisionStorage,
        PackableStorage.PackableStorageWithOptionalGC,
        HistoryStorage.HistoryStorage,
        IteratorStorage.ExtendedIteratorStorage,
    ),
    # What is different with another client is above the storage.
    ("relstorage_postgresql", "zeo_client_z5"): (
        *CONFLICTS,
        HistoryStorage.HistoryStorage,
        IteratorStorage.IteratorStorage,
        MTStorage.MTStorage,
        PackableStorage.PackableUndoStorage,
        RevisionStorage.RevisionStorage,
        TransactionalUndoStorage.TransactionalUndoStorage,
    ),
}


class Variant(NamedTuple):
    """Classes that are run once more, against a daemon with other options."""

    classes: tuple[type, ...] = CLASSES
    options: tuple[str, ...] = ()
    #: A storage is made read-only by its daemon, not by its client.
    read_only_daemon: bool = False


VARIANTS = {
    "": Variant(),
    "client_resolution": Variant(CONFLICTS, ("client-conflict-resolution true",)),
    "read_only_daemon": Variant((ReadOnlyStorage.ReadOnlyStorage,), read_only_daemon=True),
}
