"""Records that are brought into the cache before somebody asks for them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from twisted.python.failure import Failure
from ZODB.POSException import POSKeyError

from zeotwisted.exceptions import ClientDisconnected

from .coherence import Coherence
from .loads import load
from .protocol import ClientProtocol

__all__ = ["prefetch"]

_log = logging.getLogger("zeotwisted.client")

#: How many records to ask for at a time. They arrive faster than one can be used, and neither side
#: has to keep more than these.
_WINDOW = 200


def prefetch(
    protocol: ClientProtocol, coherence: Coherence, oids: Iterable[bytes], tid: bytes
) -> None:
    """Ask for records; do not wait for them.

    Whatever becomes of it, a load asks again for what is not there.

    :param oids: is read to its end before this returns.
    :raises ClientDisconnected: there is no connection any more.
    """
    # The rest is asked for in the reactor's thread, and an iterable may be anything.
    rest = iter(list(oids))

    def ask() -> None:
        for oid in rest:
            if coherence.load_before(oid, tid) is None:
                answer = load(coherence, oid)
                answer.addErrback(failed).addCallback(answered)
                protocol.call(answer, "loadBefore", oid, tid)
                return

    def answered(result: Any) -> None:
        try:
            ask()
        except ClientDisconnected:
            _log.debug("prefetch: the connection is lost")

    def failed(failure: Failure) -> None:
        if not failure.check(POSKeyError, ClientDisconnected):
            _log.error("prefetch failed: %s", failure.getErrorMessage())

    for _ in range(_WINDOW):
        ask()
