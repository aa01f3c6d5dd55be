"""The calls about the whole storage: facts, invalidations, new oids."""

from __future__ import annotations

from functools import partial
from typing import Any

from zeotwisted.protocol import split

from ..storage import ServedStorage, Verification
from .connection import ServerConnection


def remote_get_info(client: ServerConnection) -> Any:
    return client.served.call(_info, client.served, client.peer.is_extended)


def _info(served: ServedStorage, is_extended: bool) -> dict[str, Any]:
    info = served.info()
    if is_extended:
        info["instance"] = served.instance
    return info


def remote_lastTransaction(client: ServerConnection) -> bytes:
    return client.served.last_transaction


def remote_getInvalidations(client: ServerConnection, tid: bytes) -> Any:
    served = client.served
    known = served.known_invalidations(tid)
    if known is None and served.may_read_changes(tid):
        read = client.in_thread(served.read_changes, tid, served.last_transaction)
        return read.addCallback(partial(_changes, client, Verification.STORAGE))
    outcome = Verification.CURRENT if tid == served.last_transaction else Verification.QUEUE
    if known is None or served.has_published(tid):
        return _changes(client, outcome, known)
    # The client may have been told of it by another server.
    knows = client.in_thread(served.engine.knows, tid)
    return knows.addCallback(lambda knows: _changes(client, outcome, known if knows else None))


def _changes(
    client: ServerConnection, outcome: Verification, changes: tuple[bytes, bytes] | None
) -> Any:
    outcome = Verification.TOO_OLD if changes is None else outcome
    client.served.stats.verifications[outcome] += 1
    if changes is None or client.peer.is_extended:
        return changes
    tid, oids = changes
    return tid, list(set(split(oids)))


def remote_server_status(client: ServerConnection) -> dict[str, Any]:
    status = client.served.status()
    if client.peer.is_extended:
        # Tools for ZEO compare all that a status has.
        admission = client.served.limits.admission
        status |= {"probes": admission.probes, "health-checks": admission.health_checks}
    return status


def remote_server_limits(client: ServerConnection) -> dict[str, dict[str, int]]:
    return {
        key: {"used": used, "most": most, "peak": peak, "struck": struck}
        for key, (used, most, peak, struck) in client.served.limits.report().items()
    }


def remote_ping(client: ServerConnection) -> Any:
    # A client that asks wants to hear of all that was committed before, and not only here.
    served = client.registered
    if served is not None and served.engine.remote is not None:
        return served.up_to_date()
    return None


def remote_new_oid(client: ServerConnection) -> Any:
    return client.served.call(client.storage.new_oid)


def remote_new_oids(client: ServerConnection, n: int = 100) -> Any:
    return client.served.call(_new_oids, client.storage, min(max(n, 1), 100))


def _new_oids(storage: Any, n: int) -> list[bytes]:
    return [storage.new_oid() for _ in range(n)]
