"""The calls of a client's transaction, from ``tpc_begin`` to its end."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from ZODB.POSException import StorageTransactionError

from zeotwisted.protocol import MARK_AT_VOTE, TID_AT_VOTE

from ..commit import ServerTransaction
from ..engine import DatabaseFailed
from ..limits import LimitReached
from ..storage import metadata
from .connection import ServerConnection
from .peer import Answer

#: How many bytes user, description and extension of a transaction may have. A FileStorage takes
#: 65535 bytes of each.
_LONGEST_METADATA = 2**18

#: The longest time (seconds) that a vote can ask to wait.
_LONGEST_WAIT = 1e6


def remote_tpc_begin(
    client: ServerConnection,
    id: int,
    user: str | bytes,
    description: str | bytes,
    extension: dict[Any, Any] | bytes,
    tid: bytes | None = None,
    status: str | bytes = " ",
) -> None:
    if client.transaction is not None and not client.transaction.over:
        raise StorageTransactionError("this client is in a transaction already")
    if isinstance(status, bytes):
        status = status.decode("ascii", "replace")
    about = metadata.Metadata(user, description, extension)
    too_long = _length(about) > _LONGEST_METADATA
    if too_long:
        about = metadata.Metadata("", "", {})
    client.transaction = ServerTransaction(id, client, client.served, about, tid, status)
    if too_long:
        raise LimitReached(
            "user, description and extension of the transaction have more than "
            f"{_LONGEST_METADATA} bytes"
        )


def _length(about: metadata.Metadata) -> int:
    return len(about.user) + len(about.description) + len(about.extension_bytes)


def remote_storea(
    client: ServerConnection, oid: bytes, serial: bytes | str | None, data: bytes, id: int
) -> None:
    client.collecting(id).add("store", oid, serial, data)
    client.served.stats.stores += 1


def remote_restorea(
    client: ServerConnection,
    oid: bytes,
    serial: bytes,
    data: bytes | None,
    prev_txn: bytes | None,
    id: int,
) -> None:
    client.collecting(id).add("restore", oid, serial, data, prev_txn)
    client.served.stats.stores += 1


def remote_deleteObject(
    client: ServerConnection, oid: bytes, serial: bytes | str | None, id: int
) -> None:
    client.collecting(id).add("deleteObject", oid, serial)
    client.served.stats.stores += 1


def remote_checkCurrentSerialInTransaction(
    client: ServerConnection, oid: bytes, serial: bytes | str | None, id: int
) -> None:
    client.collecting(id).add("checkCurrentSerialInTransaction", oid, serial)


def remote_undoa(client: ServerConnection, trans_id: bytes, id: int) -> None:
    client.collecting(id).add("undo", trans_id)
    client.served.stats.undos += 1


async def remote_vote(client: ServerConnection, id: int) -> Any:
    return await _vote(client, id, None)


async def remote_vote_within(client: ServerConnection, id: int, seconds: float) -> Any:
    # This form also rejects NaN: every comparison with it is false.
    if not 0 <= seconds <= _LONGEST_WAIT:
        raise ValueError(f"vote_within: {seconds!r} is no number of seconds")
    return await _vote(client, id, seconds)


async def _vote(client: ServerConnection, id: int, patience: float | None) -> Any:
    transaction = client.current(id)
    try:
        result = await transaction.vote(patience)
    finally:
        _forget_if_over(client, transaction)
    if TID_AT_VOTE in client.capabilities:
        return result, transaction.tid
    if MARK_AT_VOTE in client.capabilities:
        return result, transaction.mark
    return result


async def remote_tpc_finish(client: ServerConnection, id: int) -> Answer:
    transaction = client.current(id)
    try:
        tid, sizes = await transaction.finish()
    finally:
        _forget_if_over(client, transaction)

    def then() -> None:
        transaction.answered()
        _forget_if_over(client, transaction)

    return Answer(tid, sizes, then)


def remote_tpc_outcome(
    client: ServerConnection, tid: bytes, oid: bytes | None
) -> Coroutine[Any, Any, bool]:
    return client.served.outcome(tid, oid, client.in_thread)


async def remote_tpc_committed(client: ServerConnection, mark: bytes) -> bytes | None:
    try:
        tid: bytes | None = await client.in_thread(client.served.outcome_of_mark, mark)
    except DatabaseFailed:
        # The client asks again, here or at another server, until it is told. It can register when
        # the database can be reached.
        client.drop("the server has lost its database, and cannot tell an outcome")
        raise
    if tid is not None:
        # The client takes all up to this transaction for known, and another server may have
        # committed it.
        await client.served.up_to_date()
    return tid


async def remote_tpc_abort(client: ServerConnection, id: int) -> None:
    client.cancel_upload()
    # A client may abort a transaction that has failed, and has been removed already.
    transaction = client.transaction
    if transaction is not None and transaction.id == id:
        try:
            await transaction.abort()
        finally:
            _forget_if_over(client, transaction)


def _forget_if_over(client: ServerConnection, transaction: ServerTransaction) -> None:
    if transaction.over and client.transaction is transaction:
        client.transaction = None
