"""One example of everything that crosses the wire; both the capture and the tests go by it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ZODB import POSException
from ZODB.utils import p64

OID = p64(0x1234)
TID = bytes.fromhex("03d1a2b3c4d5e6f7")
NEXT = bytes.fromhex("03d1a2b3c4d5e6f8")
DATA = b"\x80\x03cpersistent.mapping\nPersistentMapping\nq\x00.}q\x01s."
#: Stock clients use the address of an object in memory.
TXN = 139_876_543_210_000

#: Calls that stock peers do not know: they belong to version 6.
EXTENSIONS = {
    "authenticate",
    "authenticate_final",
    "capabilities",
    "changes_next",
    "changes_start",
    "ping",
    "promote",
    "standby_has",
    "loadAhead",
    "loadManyBefore",
    "load_popular",
    "popular_oids",
    "used_oids",
    "restoreBlobEnd",
    "server_limits",
    "pack_progress",
    "pack_room",
    "record_oids",
    "cancel_pack",
    "server_clients",
    "server_locks",
    "disconnect_client",
    "tpc_committed",
    "tpc_outcome",
    "vote_within",
    "goodbye",
    "dropped",
}

CALLS: dict[str, list[tuple[Any, ...]]] = {
    "register": [("1", False), ("main", True)],
    "get_info": [()],
    "lastTransaction": [()],
    "getInvalidations": [(TID,)],
    "server_status": [()],
    "ping": [()],
    "set_client_label": [("instance-1 é",)],
    "pack": [(1700000000.25, 1), (1700000000.25, False), (1700000000.25,)],
    "loadBefore": [(OID, TID)],
    "loadSerial": [(OID, TID)],
    "getTid": [(OID,)],
    "history": [(OID, 1)],
    "record_iternext": [(None,), (OID,)],
    "sendBlob": [(OID, TID)],
    "undoLog": [(0, -20)],
    "undoInfo": [(0, -20, None), (0, 5, {"user_name": b"admin"})],
    "iterator_start": [(None, None), (TID, NEXT)],
    "iterator_next": [(0,)],
    "iterator_record_start": [(0, TID)],
    "iterator_record_next": [(1,)],
    "iterator_gc": [([0, 1],)],
    "new_oid": [()],
    "new_oids": [(), (100,)],
    "tpc_begin": [
        (TXN, b"", b"", {}, None, " "),
        (
            TXN,
            b"/acl_users admin",
            "Änderung".encode(),
            {"source": "golden", "n": 1, "f": 0.5, "raw": b"\xff", "none": None, "on": True},
            TID,
            "p",
        ),
    ],
    "storea": [(OID, TID, DATA, TXN), (OID, b"\0" * 8, b"x" * 300, TXN)],
    "restorea": [(OID, TID, DATA, None, TXN), (OID, TID, None, NEXT, TXN)],
    "deleteObject": [(OID, TID, TXN)],
    "checkCurrentSerialInTransaction": [(OID, TID, TXN)],
    "undoa": [(b"A9Gis8TV5vc=", TXN)],
    "storeBlobStart": [()],
    "storeBlobChunk": [(b"\0\xffblob",)],
    "storeBlobEnd": [(OID, TID, DATA, TXN)],
    "storeBlobShared": [(OID, TID, DATA, "0x03d1.tmp-", TXN)],
    "vote": [(TXN,)],
    "tpc_finish": [(TXN,)],
    "tpc_abort": [(TXN,)],
}

#: Calls of version 6.
EXTENDED_CALLS: dict[str, list[tuple[Any, ...]]] = {
    "authenticate": [("SCRAM-SHA-256", "n,,n=anna,r=x")],
    "vote_within": [(TXN, 10), (TXN, 0.5)],
    "authenticate_final": [("c=biws,r=xy,p=AA==",)],
    "changes_start": [(TID, NEXT, True), (TID, TID, False)],
    "changes_next": [(7,)],
    "capabilities": [("1", {}), ("1", {"tid-at-vote": {}, "unknown": {"size": 7}})],
    "loadAhead": [(OID, TID, 16, 4096, 40, b"", 1), (OID, TID, 0, 0, 1000, OID * 1000, 1000)],
    "loadManyBefore": [((OID, OID), TID), ((OID,) * 1000, TID)],
    "restoreBlobEnd": [(OID, TID, DATA, None, TXN), (OID, TID, DATA, NEXT, TXN)],
    "popular_oids": [(0,), (131_000,)],
    "load_popular": [((OID, OID), TID), ((OID,) * 1000, TID)],
    "used_oids": [(b"",), (OID * 1000,)],
    "tpc_committed": [(TID,)],
    "tpc_outcome": [(TID, OID), (TID, None)],
    "server_limits": [()],
    "pack_progress": [()],
    "pack_room": [()],
    "record_oids": [(), (None,), (OID,)],
    "cancel_pack": [()],
    "server_clients": [()],
    "server_locks": [()],
    "disconnect_client": [(17, "it has held the lock for too long"), (0, "")],
    "promote": [()],
    "standby_has": [(TID,)],
}

#: What a server of version 6 says.
EXTENDED_PUSHES: dict[str, tuple[Any, ...]] = {
    "ping": (),
    "goodbye": ("the server stops",),
    "dropped": ("it does not read what it is sent",),
}

ONEWAY = {
    "used_oids",
    "set_client_label",
    "iterator_gc",
    "tpc_begin",
    "storea",
    "restorea",
    "deleteObject",
    "checkCurrentSerialInTransaction",
    "undoa",
    "storeBlobStart",
    "storeBlobChunk",
    "storeBlobEnd",
    "storeBlobShared",
    "restoreBlobEnd",
}

PUSHES: dict[str, tuple[Any, ...]] = {
    "invalidateTransaction": (TID, [OID, NEXT]),
    "info": ({"length": 3, "size": 4096},),
    "receiveBlobStart": (OID, TID),
    "receiveBlobChunk": (OID, TID, b"chunk \xff"),
    "receiveBlobStop": (OID, TID),
}

REPLIES: dict[str, Any] = {
    "none": None,
    "tid": TID,
    "loadBefore": (DATA, TID, NEXT),
    "loadBefore, current": (DATA, TID, None),
    "getInvalidations": (TID, [OID, NEXT]),
    "new_oids": [p64(number) for number in range(1, 101)],
    "vote, nothing resolved": [],
    "vote, resolved": [OID],
    "vote, conflicts": [{"oid": OID, "serials": (NEXT, TID), "data": DATA}],
    "get_info": {
        "length": 3,
        "size": 4096,
        "name": "Data.fs",
        "supportsUndo": True,
        "supports_record_iternext": True,
        "interfaces": (("ZODB.interfaces", "IStorage"), ("zope.interface", "Interface")),
    },
    "server_status": {
        "loads": 1,
        "stores": 2,
        "commits": 3,
        "aborts": 0,
        "active_txns": 0,
        "lock_time": None,
        "conflicts": 0,
        "conflicts_resolved": 0,
        "start": "Sat Jan  3 10:00:00 2026",
        "connections": 1,
        "waiting": 0,
        "timeout-thread-is-alive": True,
        "last-transaction": "03d1a2b3c4d5e6f7",
    },
    "undoLog": [
        {
            "id": b"A9Gis8TV5vc=",
            "time": 1700000000.5,
            "user_name": b"admin",
            "description": b"edit",
            "size": 120,
            "source": "golden",
        }
    ],
    "undoLog without undo": (),
    "history": [
        {
            "time": 1700000000.5,
            "user_name": b"admin",
            "description": b"edit",
            "tid": TID,
            "size": 120,
        }
    ],
    "iterator id": 4,
    "iterator_next": (TID, " ", b"admin", b"edit", {"source": "golden"}),
    "iterator_record_next": (OID, TID, DATA, None),
    "record_iternext": (OID, TID, DATA, None),
}


def messages() -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Yield (who sends it, its name, the message)."""
    for name, variants in CALLS.items():
        for number, args in enumerate(variants):
            # Stock clients collapse equal loads by using the arguments as the id.
            id: Any = args if name == "loadBefore" else 5
            head = (0, True) if name in ONEWAY else (id, False)
            yield "client", f"call {name} {number}", (*head, name, args)
    for name, args in PUSHES.items():
        yield "server", f"push {name}", (0, True, name, args)
    for name, value in REPLIES.items():
        yield "server", f"reply {name}", (5, 0, ".reply", value)
    yield "server", "reply to loadBefore", ((OID, TID), 0, ".reply", (DATA, TID, None))
    yield "client", "keep-alive", (-1, 0, ".reply", None)
    yield "client", PREFIX, (5, False, "undoInfo", (0, 5, {"user_name": _prefix()}))


PREFIX = "call undoInfo with Prefix"


def only_pickle(name: str) -> bool:
    """Tell whether msgpack cannot carry the message of this name."""
    return name == PREFIX


def _prefix() -> Any:
    from ZopeUndo.Prefix import Prefix

    return Prefix("/acl_users/x")


class Unknown(Exception):
    """Stands for whatever a storage may raise."""

    # The same however the tests are imported.
    __module__ = "some.storage"


def exceptions() -> list[tuple[str, Exception]]:
    conflict = {"oid": OID, "serials": (NEXT, TID)}
    named = POSException.ConflictError(**conflict)
    named.class_name = "app.Thing"
    found: list[Exception] = [
        KeyError("missing"),
        TypeError("of the wrong kind"),
        POSException.BTreesConflictError(-1, 2, 3, 1),
        POSException.ConflictError(message="read conflict", **conflict),
        named,
        POSException.ConflictError(),
        POSException.DanglingReferenceError(OID, NEXT),
        POSException.MultipleUndoErrors([("no", OID), ("neither", None)]),
        POSException.POSKeyError(OID),
        POSException.ReadConflictError(**conflict),
        POSException.ReadOnlyError(),
        POSException.StorageError("broken"),
        POSException.StorageSystemError("disk full"),
        POSException.StorageTransactionError(None, TXN),
        POSException.UndoError("some reason", OID),
        POSException.Unsupported("not here"),
        ValueError("unknown storage: x"),
        Unknown("whatever", 3),
    ]
    return [(f"error {type(error).__name__} {n}", error) for n, error in enumerate(found)]
