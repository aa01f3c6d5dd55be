"""The calls that read records."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any

from twisted.internet.defer import Deferred

from .connection import ServerConnection

#: The limits for one answer with oids: how many, and for how long (seconds) to look for them.
_MOST = 1000
_LONGEST = 0.05


def remote_loadBefore(client: ServerConnection, oid: bytes, tid: bytes) -> Any:
    served = client.registered
    assert served is not None
    served.stats.loads += 1
    served.popularity.loaded(client, oid)
    return served.records.load_before(client, oid, tid)


def remote_loadManyBefore(client: ServerConnection, oids: Sequence[bytes], tid: bytes) -> Any:
    answer = client.served.records.load_many_before(client, oids, tid)
    if isinstance(answer, list):
        return _count_loads(client, oids, answer)
    return Deferred.fromCoroutine(answer).addCallback(partial(_count_loads, client, oids))


def _count_loads(client: ServerConnection, oids: Sequence[bytes], answer: list[Any]) -> list[Any]:
    served = client.served
    served.stats.loads += len(answer)
    if not client.gone:
        served.popularity.used(client, b"".join(oids[: len(answer)]))
    return answer


def remote_loadSerial(client: ServerConnection, oid: bytes, serial: bytes) -> Any:
    return client.served.call(client.storage.loadSerial, oid, serial)


def remote_getTid(client: ServerConnection, oid: bytes) -> Any:
    return client.served.call(client.storage.getTid, oid)


def remote_record_oids(client: ServerConnection, next: bytes | None = None) -> Any:
    return client.in_thread(_record_oids, client.storage, next)


def _record_oids(storage: Any, next: bytes | None) -> tuple[bytes, bytes, bytes | None]:
    oids: list[bytes] = []
    tids: list[bytes] = []
    end = monotonic() + _LONGEST
    while len(oids) < _MOST:
        try:
            oid, tid, _, next = storage.record_iternext(next)
        except Exception:
            if not oids:
                raise
            # The next call raises it again.
            break
        oids.append(oid)
        tids.append(tid)
        if next is None or monotonic() > end:
            break
    return b"".join(oids), b"".join(tids), next


def remote_record_iternext(client: ServerConnection, next: bytes | None = None) -> Any:
    return client.in_thread(client.storage.record_iternext, next)
