"""The calls that read past transactions: histories, undo logs, and iterators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from ..storage import metadata
from .connection import ServerConnection
from .iterators import Iterators


def remote_history(client: ServerConnection, oid: Any, size: Any = 1) -> Any:
    # Clients of version 5 may pass None for both. The answer is then the storage's error.
    return client.in_thread(
        lambda: _entries(
            client, metadata.history(client.storage, oid, size), metadata.described_history
        )
    )


def remote_undoLog(client: ServerConnection, first: int, last: int) -> Any:
    return remote_undoInfo(client, first, last, None)


def remote_undoInfo(
    client: ServerConnection, first: int, last: int, spec: dict[str, Any] | None
) -> Any:
    if not client.served.supports_undo:
        return ()
    return client.in_thread(
        lambda: _entries(
            client,
            metadata.undo_log(client.storage, first, last, spec),
            metadata.described_undo_log,
        )
    )


def _entries(
    client: ServerConnection,
    entries: list[metadata.Entry],
    describe: Callable[[metadata.Entry, bytes], Any],
) -> list[Any]:
    """Return entries in the form for the client's version: in version 5, extensions are dicts."""
    if client.peer.is_extended:
        return entries
    return [describe(entry, client.peer.encoding) for entry in entries]


def remote_iterator_start(client: ServerConnection, start: bytes | None, stop: bytes | None) -> Any:
    return client.iteration.run(lambda iterators: iterators.start(start, stop))


def remote_iterator_next(client: ServerConnection, iid: int) -> Any:
    return client.iteration.run(lambda iterators: _next_transaction(client, iterators.next(iid)))


def _next_transaction(client: ServerConnection, item: Any) -> Any:
    if item is None or client.peer.is_extended:
        return item
    *own, extension = item
    return (*own, metadata.shown(extension, client.peer.encoding))


def remote_iterator_record_start(client: ServerConnection, iid: int, tid: bytes) -> Any:
    return client.iteration.run(lambda iterators: iterators.start_records(iid, tid))


def remote_iterator_record_next(client: ServerConnection, iid: int) -> Any:
    return client.iteration.run(lambda iterators: iterators.next_record(iid))


def remote_iterator_gc(client: ServerConnection, iids: Sequence[int]) -> Any:
    return _run_reading(client, lambda iterators: iterators.forget(iids))


def remote_changes_start(
    client: ServerConnection, since: bytes, stop: bytes, with_data: bool | int | None
) -> Any:
    return _run_reading(
        client, lambda iterators: iterators.start_changes(since, stop, bool(with_data))
    )


def remote_changes_next(client: ServerConnection, iid: int) -> Any:
    return _run_reading(client, lambda iterators: iterators.next_changes(iid))


def _run_reading(client: ServerConnection, call: Callable[[Iterators], Any]) -> Deferred[Any]:
    """Run a function of the iterators over batches; then note how far the client has read."""
    return client.iteration.run(call).addBoth(partial(_note_reading, client))


def _note_reading(client: ServerConnection, outcome: Any) -> Any:
    if client.gone:
        return outcome
    reading = client.iteration.reading
    if reading is None:
        client.served.readers.ends(client)
    else:
        client.served.readers.reads(client, *reading)
    return outcome
