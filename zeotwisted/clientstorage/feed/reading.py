"""Reads a part of the log of transactions over one connection."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from ZODB.blob import is_blob_record
from ZODB.utils import z64

from zeotwisted.exceptions import (
    ClientStorageError,
    NotInHistory,
    UnrecognizedResult,
)
from zeotwisted.protocol import CHANGES, stored

from ..calls import ClientProtocol
from .transactions import ChangedTransaction, Collector

__all__ = ["read_log"]


def read_log(
    protocol: ClientProtocol,
    since: bytes,
    stop: bytes,
    records: bool = False,
    accept_gaps: bool = False,
) -> AsyncIterator[ChangedTransaction]:
    """Yield the transactions after `since` up to `stop`, oldest first.

    The server reads the next ones when they are asked for.

    :param since: a tid; eight zero bytes for the beginning.
    :param records: get the records, too.
    :param accept_gaps: go on if a pack has removed `since`.
    :raises NotInHistory: `since` is not in the storage.
    """
    if CHANGES in protocol.capabilities:
        return _in_batches(protocol, since, stop, records, accept_gaps)
    return _one_by_one(protocol, since, stop, records, accept_gaps)


def _check(known: bool, since: bytes, first: Any, accept_gaps: bool) -> None:
    """Raise `NotInHistory` if reading must not go on.

    :param first: tid and status of the first transaction after `since`; None if there is none.
    """
    if known:
        return
    packed = first is not None and first[1] in ("p", b"p")
    if not (packed and accept_gaps):
        raise NotInHistory(since, packed)


async def _in_batches(
    protocol: ClientProtocol, since: bytes, stop: bytes, records: bool, accept_gaps: bool
) -> AsyncIterator[ChangedTransaction]:
    number: int | None = None
    transaction: Collector | None = None
    try:
        known, number, items = _fields(
            "changes_start", 3, await protocol.request("changes_start", since, stop, records)
        )
        _check(known, since, items[0] if items else None, accept_gaps)
        while True:
            for item in items:
                if transaction is None:
                    transaction = Collector(records, *_fields("changes_next", 5, item))
                elif item is not None:
                    transaction.add(*_fields("changes_next", 4, item))
                else:
                    complete, transaction = transaction.end(), None
                    yield complete
            if number is None:
                break
            number, items = _fields(
                "changes_next", 2, await protocol.request("changes_next", number)
            )
    finally:
        _forget(protocol, number)
    if transaction is not None:
        raise UnrecognizedResult("changes_next", "a transaction without its end")


def _fields(name: str, count: int, answer: Any) -> Any:
    if not isinstance(answer, (tuple, list)) or len(answer) != count:
        raise UnrecognizedResult(name, answer)
    return answer


def _forget(protocol: ClientProtocol, *numbers: int | None) -> None:
    """Free iterators at the server."""
    left = [number for number in numbers if number is not None]
    if left and protocol.is_open:
        with contextlib.suppress(ClientStorageError):
            protocol.oneway("iterator_gc", left)


async def _one_by_one(
    protocol: ClientProtocol, since: bytes, stop: bytes, records: bool, accept_gaps: bool
) -> AsyncIterator[ChangedTransaction]:
    """Do it with the calls that ZEO's servers have."""
    ask = protocol.request
    number: int | None = await ask("iterator_start", None if since == z64 else since, stop)
    try:
        item = await ask("iterator_next", number)
        known = since == z64 or (item is not None and item[0] == since)
        if since != z64 and known:
            item = await ask("iterator_next", number)
        _check(known, since, item, accept_gaps)
        while item is not None:
            tid, status, user, description, extension = _fields("iterator_next", 5, item)
            stored_extension = extension if type(extension) is bytes else stored(extension)
            transaction = Collector(records, tid, status, user, description, stored_extension)
            await _add_records(protocol, number, transaction, records)
            yield transaction.end()
            item = await ask("iterator_next", number)
        # The server has freed it.
        number = None
    finally:
        _forget(protocol, number)


async def _add_records(
    protocol: ClientProtocol, number: int | None, transaction: Collector, with_data: bool
) -> None:
    ask = protocol.request
    inner: int | None = await ask("iterator_record_start", number, transaction.tid)
    try:
        while (record := await ask("iterator_record_next", inner)) is not None:
            oid, _, data, data_txn = _fields("iterator_record_next", 4, record)
            transaction.add(oid, data_txn, data, with_data and _may_have_blob(data))
        inner = None
    finally:
        _forget(protocol, inner)


def _may_have_blob(data: bytes | None) -> bool:
    return bool(data) and bool(is_blob_record(data))
