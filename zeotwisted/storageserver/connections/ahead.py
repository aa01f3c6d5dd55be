"""The call that reads a record, and brings what may be wanted next.

This is all that the daemon's connections know of `speculation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

from ..floods import Kind
from .connection import ServerConnection

_log = Logger()

#: How probable (in thousandths) the use of a record has to be at least: to look for many that are
#: improbable takes the time of others.
_LEAST = 10


def remote_loadAhead(
    client: ServerConnection,
    oid: bytes,
    tid: bytes,
    records: int,
    size: int,
    least: int,
    used: bytes,
    thread: int,
) -> Any:
    served = client.served
    served.stats.loads += 1
    served.popularity.used(client, used + oid)
    served.records.used(used)

    def answer(revision: Any) -> tuple[Any, bytes]:
        # In the turn in which the answer is written: see rule 5 of the order.
        if client.gone:
            # It is forgotten already.
            return revision, b""
        try:
            ahead = served.speculation.ahead(
                client, oid, tid, revision, records, size, max(least, _LEAST) / 1000, used, thread
            )
        except Exception:
            # The client gets what it has asked for all the same.
            if client.admit(Kind.CALL):
                _log.failure("({label}) speculation failed", label=client.label)
            ahead = b""
        return revision, ahead

    revision = served.records.load_before(client, oid, tid)
    if revision is None or isinstance(revision, tuple):
        return answer(revision)
    return _later(revision, answer)


async def _later(revision: Any, answer: Callable[[Any], tuple[Any, bytes]]) -> Any:
    return answer(await revision)
