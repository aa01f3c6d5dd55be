"""The calls that read records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from ..storage import load_many_before
from .connection import ServerConnection


def remote_loadBefore(client: ServerConnection, oid: bytes, tid: bytes) -> Any:
    served = client.registered
    assert served is not None
    served.stats.loads += 1
    if served.loads is not None:
        return served.loads.load_before(client, oid, tid)
    # In the reactor's thread, and answered at once: no invalidation of a later transaction can be
    # sent before this answer.
    return served.storage.loadBefore(oid, tid)


def remote_loadManyBefore(client: ServerConnection, oids: Sequence[bytes], tid: bytes) -> Any:
    served = client.served
    if served.loads is not None:
        answer = Deferred.fromCoroutine(served.loads.load_many_before(client, oids, tid))
        return answer.addCallback(partial(_count_loads, client))
    # In the reactor's thread, for the same reason as in `remote_loadBefore`.
    return _count_loads(client, load_many_before(served.storage.loadBefore, oids, tid))


def _count_loads(client: ServerConnection, answer: list[Any]) -> list[Any]:
    client.served.stats.loads += len(answer)
    return answer


def remote_loadSerial(client: ServerConnection, oid: bytes, serial: bytes) -> Any:
    return client.served.call(client.storage.loadSerial, oid, serial)


def remote_getTid(client: ServerConnection, oid: bytes) -> Any:
    return client.served.call(client.storage.getTid, oid)


def remote_record_iternext(client: ServerConnection, next: bytes | None = None) -> Any:
    return client.in_thread(client.storage.record_iternext, next)
