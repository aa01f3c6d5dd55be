"""Finds out whether a transaction was committed when the answer to ``tpc_finish`` was lost.

The transaction must be over first: the server may not have received ``tpc_finish`` yet, or may be
processing it. Then the storage is searched for the transaction. The data of the objects proves
nothing: another client may have written the same data. A transaction is found by its tid, if the
server has sent it with the vote, or by a mark in its extension.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from ZODB._compat import loads
from ZODB.POSException import StorageError
from ZODB.utils import p64, u64

from zeotwisted.exceptions import ClientDisconnected, CommitInDoubt, UnrecognizedResult
from zeotwisted.protocol import EMPTY, PickleError, Unreadable, described, dumps, stored, with_entry

from ..calls import ClientProtocol, Waiter

__all__ = ["Traces", "committed_tid", "mark_of", "marked", "marked_stored"]
__all__ += ["stored_without_mark", "without_mark"]

#: The mark's key in a transaction's extension.
_KEY = "zeotwisted.mark"

#: A mark at the end of a stored extension: key, value, SETITEM, STOP.
_WRITTEN = re.compile(rb"X\x0f\0\0\0zeotwisted\.markX \0\0\0[0-9a-f]{32}s\.\Z")

#: The longest extension that a FileStorage can keep, in bytes.
_LONGEST = 65535

#: The id of a transaction that only waits for the commit lock. The ids of others begin at 1.
_FENCE = 0


class Traces(NamedTuple):
    """The data by which a transaction is found, and that errors show."""

    #: The tid, if the server sent it with the vote, or if the application gave it.
    tid: bytes | None
    #: The mark in the extension, if there is one.
    mark: str | None
    #: What the server has sent with the vote in place of a tid.
    server_mark: bytes | None
    #: The tid of an earlier transaction.
    after: bytes
    #: An object that the transaction changes, if there is one.
    oid: bytes | None
    user: str | bytes
    description: str | bytes


def marked(extension: Mapping[Any, Any]) -> tuple[dict[Any, Any], str | None]:
    """Return a transaction's extension with a unique mark, and the mark.

    If the extension has a mark already, it is kept: a server that is a client of another server
    passes on the marks of its clients, which search for them. If there is no room for a mark, the
    extension is returned without one, and the mark is None.
    """
    plain = dict(extension)
    mark = plain.get(_KEY) or uuid4().hex
    with_mark = {**plain, _KEY: mark}
    try:
        # Measure what the server stores. Its pickle may be longer: two references to one string
        # here are two strings there.
        at_server = loads(dumps(with_mark))
    except PickleError:
        # Sending it will fail with a better message.
        return with_mark, mark
    if len(stored(at_server)) > _LONGEST:
        return plain, plain.get(_KEY)
    return with_mark, mark


def marked_stored(extension: bytes) -> tuple[bytes, str | None]:
    """Do what `marked` does with an extension in its stored form, without unpickling it."""
    mark = mark_of(extension)
    if mark is not None:
        return extension, mark
    mark = uuid4().hex
    with_mark = with_entry(extension, _KEY, b"X \0\0\0%b." % mark.encode())
    return (with_mark, mark) if len(with_mark) <= _LONGEST else (extension, None)


def mark_of(extension: Mapping[Any, Any] | bytes) -> str | None:
    """Return the mark in an extension, which is a dict or has its stored form; None without one."""
    if isinstance(extension, bytes):
        if _KEY.encode() not in extension:
            return None
        try:
            extension = described(extension)
        except Unreadable:
            return None
    mark = extension.get(_KEY)
    return mark if isinstance(mark, str) else None


def without_mark(entry: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return an extension, or a log entry with its keys, without the mark."""
    return {key: value for key, value in entry.items() if key != _KEY}


def stored_without_mark(extension: bytes) -> bytes:
    """Do what `without_mark` does with an extension in its stored form."""
    if _KEY.encode() not in extension:
        return extension
    written = _WRITTEN.search(extension)
    if written is not None:
        rest = extension[: written.start()] + b"."
        return b"" if rest == EMPTY else rest
    try:
        # A server of version 5 has pickled the dict, with the mark as one of its keys.
        return stored(without_mark(described(extension)))
    except (TypeError, Unreadable):
        # It cannot be read here. The application sees the mark, which does no harm.
        return extension


def committed_tid(
    traces: Traces, connect: Callable[[float], ClientProtocol], timeout: float
) -> bytes | None:
    """Return the transaction's tid, or None if it is not committed and will never be.

    When this returns, the client has applied the invalidations up to that transaction.

    :param connect: waits for a connection, up to a number of seconds, and returns it. The server
        must accept writes: a read-only server may be a replica that lags behind.
    :param timeout: how long (seconds) to try.
    :raises CommitInDoubt: no server has answered in time, or the transaction has neither a tid nor
        a mark.
    """
    if traces.tid is None and traces.mark is None and traces.server_mark is None:
        raise CommitInDoubt(
            None,
            traces.user,
            traces.description,
            "its extension is so long that there was no room for a mark to find it by",
        )
    deadline = time.monotonic() + timeout
    while True:
        try:
            connection = connect(max(deadline - time.monotonic(), 0.0))
        except ClientDisconnected as error:
            raise _in_doubt(traces, error) from error
        try:
            return _ask(traces, connection, deadline)
        except ClientDisconnected:
            # Ask again on the next connection.
            continue
        except Exception as error:
            raise _in_doubt(traces, error) from error


def _in_doubt(traces: Traces, error: Exception) -> CommitInDoubt:
    reason = "the server does not answer" if isinstance(error, TimeoutError) else str(error)
    return CommitInDoubt(traces.tid, traces.user, traces.description, reason)


def _ask(traces: Traces, connection: ClientProtocol, deadline: float) -> bytes | None:
    def call(name: str, *args: Any) -> Any:
        remaining = max(deadline - time.monotonic(), 0.0)
        return connection.ask(Waiter(), name, *args, timeout=remaining)

    if traces.server_mark is not None and connection.tells_marks:
        return _found("tpc_committed", call("tpc_committed", traces.server_mark))
    if connection.is_shared:
        # Another server may be about to commit it: a vote here does not wait for that one.
        found = _find(traces, call)
        if found is None:
            raise StorageError("another server of the database may still commit it")
        return found
    # Without `tells_tids`, `tpc_outcome` cannot be used, for example at a server whose storage is
    # a client of another server.
    if traces.tid is not None and connection.tells_tids:
        return traces.tid if call("tpc_outcome", traces.tid, traces.oid) else None
    # This vote gets the commit lock only when the lost transaction is over.
    connection.oneway("tpc_begin", _FENCE, "", "", {}, None, " ", hold_back=True)
    try:
        call("vote", _FENCE)
    finally:
        call("tpc_abort", _FENCE)
    return _find(traces, call)


def _found(name: str, tid: Any) -> bytes | None:
    if tid is None or (type(tid) is bytes and len(tid) == 8):
        return tid
    raise UnrecognizedResult(name, tid)


def _find(traces: Traces, call: Callable[..., Any]) -> bytes | None:
    start = traces.tid or p64(u64(traces.after) + 1)
    iterator = call("iterator_start", start, traces.tid)
    while (item := call("iterator_next", iterator)) is not None:
        try:
            tid, _, _, _, extension = item
            mark = mark_of(extension)
        except (TypeError, ValueError, AttributeError):
            raise UnrecognizedResult("iterator_next", item)
        if tid == traces.tid or (traces.mark is not None and mark == traces.mark):
            return bytes(tid)
    return None
