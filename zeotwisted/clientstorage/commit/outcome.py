"""Finding out whether a transaction was committed, when the answer to ``tpc_finish`` is lost.

First the transaction has to be over: its ``tpc_finish`` may still be on its way to the server, or
be done there at this moment. Then the storage is asked for it. What the storage has for the objects
says nothing: another client may have written the same data in their place. A transaction is known
by its tid, if the server has told it with the vote, or else by a mark in its extension.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

from ZODB._compat import loads
from ZODB.utils import p64, u64

from zeotwisted.exceptions import ClientDisconnected, CommitInDoubt, UnrecognizedResult
from zeotwisted.protocol import EMPTY, PickleError, Unreadable, described, dumps, stored, with_entry

from ..calls import ClientProtocol, Waiter

__all__ = ["Traces", "committed_tid", "mark_of", "marked", "marked_stored"]
__all__ += ["stored_without_mark", "without_mark"]

#: The mark's key in a transaction's extension.
_KEY = "zeotwisted.mark"

#: How a mark is written behind all else into a stored extension: key, value, SETITEM, STOP.
_WRITTEN = re.compile(rb"X\x0f\0\0\0zeotwisted\.markX \0\0\0[0-9a-f]{32}s\.\Z")

#: How long (bytes) the extension may be that a FileStorage keeps.
_LONGEST = 65535

#: The name of the transaction that waits for the commit lock, on a connection without any other.
_FENCE = 0


class Traces(NamedTuple):
    """What a transaction can be found by, and what errors tell of it."""

    #: Its tid, if that was told with the vote or is given.
    tid: bytes | None
    #: The mark in its extension, if there is one.
    mark: str | None
    #: A transaction before it.
    after: bytes
    #: An object that it changes, if there is any.
    oid: bytes | None
    user: str | bytes
    description: str | bytes


def marked(extension: Mapping[Any, Any]) -> tuple[dict[Any, Any], str | None]:
    """Return a transaction's extension with a mark that no other transaction has, and the mark.

    A server that is a client of another one passes on the marks of its clients, who will look for
    them. Where there is no room for a mark the application's extension goes without; the mark is
    None then.
    """
    plain = dict(extension)
    mark = plain.get(_KEY) or uuid4().hex
    with_mark = {**plain, _KEY: mark}
    try:
        # The server's dict contains a string twice where ours contains the same one in two places.
        at_server = loads(dumps(with_mark))
    except PickleError:
        # The code that sends it says what is wrong with it.
        return with_mark, mark
    if len(stored(at_server)) > _LONGEST:
        return plain, plain.get(_KEY)
    return with_mark, mark


def marked_stored(extension: bytes) -> tuple[bytes, str | None]:
    """Do what `marked` does, to an extension in its stored form, which is not loaded."""
    mark = mark_of(extension)
    if mark is not None:
        return extension, mark
    mark = uuid4().hex
    with_mark = with_entry(extension, _KEY, b"X \0\0\0%b." % mark.encode())
    return (with_mark, mark) if len(with_mark) <= _LONGEST else (extension, None)


def mark_of(extension: Mapping[Any, Any] | bytes) -> str | None:
    """Return the mark in an extension, in whatever form that is."""
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
    """Return an extension, or a dict with one's keys, as the application has made it."""
    return {key: value for key, value in entry.items() if key != _KEY}


def stored_without_mark(extension: bytes) -> bytes:
    """Do what `without_mark` does, to an extension in its stored form."""
    if _KEY.encode() not in extension:
        return extension
    written = _WRITTEN.search(extension)
    if written is not None:
        rest = extension[: written.start()] + b"."
        return b"" if rest == EMPTY else rest
    try:
        # A server of version 5 has written it, as one key of a dict that could be sent.
        return stored(without_mark(described(extension)))
    except (TypeError, Unreadable):
        # It is not one of those. The mark does no harm.
        return extension


def committed_tid(
    traces: Traces, connect: Callable[[float], ClientProtocol], timeout: float
) -> bytes | None:
    """Return the transaction's tid, or None if it is not committed and will never be.

    When this returns, the client has heard of all that was committed up to that transaction.

    :param connect: waits for a connection, at most for a number of seconds, and returns it. It must
        be to a server that takes changes: another one may be a copy that lags behind.
    :param timeout: how long (seconds) to try.
    :raises CommitInDoubt: no server has told in that time, or there is nothing to know it by.
    """
    if traces.tid is None and traces.mark is None:
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
            # The next connection may last longer.
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

    # A server that is itself a client of the one that has the transaction does not know it.
    if traces.tid is not None and connection.tells_tids:
        return traces.tid if call("tpc_outcome", traces.tid, traces.oid) else None
    # The lock is given to nobody before the transaction is over.
    connection.oneway("tpc_begin", _FENCE, "", "", {}, None, " ", hold_back=True)
    try:
        call("vote", _FENCE)
    finally:
        call("tpc_abort", _FENCE)
    return _find(traces, call)


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
