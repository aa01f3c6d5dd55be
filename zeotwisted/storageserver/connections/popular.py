"""The calls of a warm start: what clients of the same group use most, and its records.

This, and a line for each call that loads records, is all that the daemon's connections know of
`popularity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from .connection import ServerConnection

#: How many oids one answer has.
_MOST = 1000


def remote_popular_oids(client: ServerConnection, start: int) -> Any:
    return client.served.popularity.popular(client, start, _MOST, client.in_thread)


def remote_load_popular(client: ServerConnection, oids: Sequence[bytes], tid: bytes) -> Any:
    answer = client.served.records.load_many_before(client, oids, tid)
    if isinstance(answer, list):
        return _sent(client, oids, answer)
    return Deferred.fromCoroutine(answer).addCallback(partial(_sent, client, oids))


def _sent(client: ServerConnection, oids: Sequence[bytes], answer: list[Any]) -> list[Any]:
    served = client.served
    served.stats.loads += len(answer)
    if not client.gone:
        current = [oid for oid, revision in zip(oids, answer) if revision and revision[2] is None]  # noqa: B905
        served.speculation.sent(client, b"".join(current))
    return answer


def remote_used_oids(client: ServerConnection, oids: bytes) -> None:
    client.served.popularity.in_use(client, oids)
