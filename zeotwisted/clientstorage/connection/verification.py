"""Brings the cache up to date when the client has a new connection."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from ZODB.utils import tid_repr, z64

from zeotwisted.exceptions import ClientStorageError, UnrecognizedResult
from zeotwisted.protocol import are_joined, methods, split

from ..records import Coherence

__all__ = ["AnotherDatabase", "ServerIsOlder", "Verified", "missed_changes", "verify"]

_log = logging.getLogger("zeotwisted.client")


class ServerIsOlder(ClientStorageError):
    """A server's last transaction is older than the last one that the client has seen.

    :param server: the server's last transaction.
    :param known: the last one that the client has seen.
    """

    def __init__(self, server: bytes, known: bytes) -> None:
        super().__init__(
            f"the server's last transaction, {tid_repr(server)}, is older than the last one seen "
            f"here, {tid_repr(known)}; has a backup been restored? To accept it, and drop what is "
            "cached, open the storage without refuse_older_server"
        )


class AnotherDatabase(ClientStorageError):
    """A server has another database than the one that the client has used before."""

    def __init__(self) -> None:
        super().__init__(
            "it serves another database than the server before; correct the addresses, or start "
            "the application again if the database was replaced"
        )


class Verified(Enum):
    """What became of the cache. The values are for reports."""

    #: Nothing had changed.
    CURRENT = "current"
    #: The client was never connected before.
    FIRST = "first"
    #: The server told what had changed.
    CHANGES = "changes"
    #: The client was away for too long, and dropped its cache.
    DROPPED = "dropped"
    #: The server was older than the cache, which was set aside.
    OLDER_SERVER = "older_server"


class _Server(Protocol):
    def request(self, name: str, *args: Any) -> Deferred[Any]: ...


async def verify(
    server: _Server,
    server_tid: bytes,
    coherence: Coherence,
    name: str,
    count: Callable[[Verified], object] = lambda outcome: None,
) -> None:
    """Apply the invalidations that the client missed while there was no connection.

    Invalidations that arrive meanwhile are queued, see `candidate.Candidate`.

    :param server_tid: the server's last transaction.
    :param name: the name of the client in log lines.
    :param count: called with the outcome.
    """
    known = coherence.last_transaction()
    if known == server_tid:
        count(Verified.CURRENT)
    elif known == z64:
        count(Verified.FIRST)
        # The client was never connected, so its cache has nothing that could be out of date.
        coherence.replay(server_tid, ())
    elif known > server_tid:
        _log.critical(
            "%s: the server's last transaction, %s, is older than the last one seen here, %s. "
            "Has a backup been restored, or a standby promoted that had less? What was cached is "
            "not used any more.",
            name,
            tid_repr(server_tid),
            tid_repr(known),
        )
        coherence.set_aside(server_tid)
        count(Verified.OLDER_SERVER)
    else:
        missed = await server.request("getInvalidations", known)
        if missed:
            tid, oids = missed_changes(missed)
            _log.info("%s: missed changes of %d objects", name, len(oids))
            coherence.replay(tid, oids)
            count(Verified.CHANGES)
        else:
            _log.info("%s: was away for too long; everything that was cached is dropped", name)
            coherence.forget_all(server_tid)
            count(Verified.DROPPED)


def missed_changes(missed: Any) -> tuple[bytes, Sequence[bytes]]:
    """Return the last transaction and the oids of an answer to ``getInvalidations``.

    :raises UnrecognizedResult: it has another form.
    """
    if type(missed) is tuple and len(missed) == 2:
        tid, oids = missed
        if methods.tid(tid):
            if are_joined(oids):
                return tid, list(set(split(oids)))
            if methods.oids(oids):
                return tid, oids
    raise UnrecognizedResult("getInvalidations", missed)
