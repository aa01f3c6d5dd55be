"""The calls at the start of a session: capabilities, the registration, and the client's label."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from ZODB.POSException import ReadOnlyError, StorageError, StorageTransactionError

from zeotwisted.protocol import (
    AUTHENTICATE,
    CHANGES,
    DROPPED,
    GOODBYE,
    LOAD_AHEAD,
    MARK_AT_VOTE,
    OPERATORS,
    SHARED,
    STANDBY,
    TID_AT_VOTE,
    VOTE_WITHIN,
    WARM_START,
    Capabilities,
    Role,
    agreed,
)

from ..figures import Refusal
from ..floods import Kind
from ..storage import ServedStorage
from . import authentication
from .admission import check_admitted, check_may_write, identify
from .connection import ServerConnection
from .iteration import Iteration

_log = Logger()


def remote_capabilities(
    client: ServerConnection, storage_id: str, offered: Capabilities
) -> dict[str, Any]:
    ours = _capabilities(client, client.storages.get(storage_id))
    client.capabilities = agreed(ours, offered)
    return ours


def _capabilities(client: ServerConnection, served: ServedStorage | None) -> dict[str, Any]:
    """Return what this server offers to a client of a storage, which may be unknown."""
    ours: dict[str, Any] = {CHANGES: {}, DROPPED: {}, GOODBYE: {}, OPERATORS: {}, VOTE_WITHIN: {}}
    ours |= {LOAD_AHEAD: {}, WARM_START: {}}
    if served is not None and not served.engine.is_shared:
        ours[STANDBY] = {"synchronous": served.followers.waits}
    if served is not None and served.tells_tids:
        ours[TID_AT_VOTE] = {}
    if served is not None and served.engine.marks:
        ours[MARK_AT_VOTE] = {}
    if served is not None and served.engine.is_shared:
        ours[SHARED] = {"database": served.engine.database} if served.engine.database else {}
    authenticates = authentication.offer(client)
    if authenticates is not None:
        ours[AUTHENTICATE] = authenticates
    return ours


def remote_register(client: ServerConnection, storage_id: str, read_only: bool | int | None) -> Any:
    if client.registered is not None:
        raise StorageTransactionError("this client has registered already")
    identify(client)
    roles = client.access.roles(client.identity, storage_id)
    check_admitted(client, roles, storage_id)
    served = client.storages.get(storage_id)
    refusals = client.figures.refusals
    if served is None:
        refusals[Refusal.UNKNOWN_STORAGE] += 1
        names = ", ".join(repr(name) for name in sorted(client.storages))
        raise ValueError(f"unknown storage: {storage_id!r}; this server has {names}")
    if served.unusable or served.suspended:
        refusals[Refusal.UNAVAILABLE] += 1
    if served.unusable:
        raise StorageError(
            f"storage {storage_id!r} cannot be used until the server is started again: "
            f"{served.unusable}"
        )
    if served.suspended:
        raise StorageError(
            f"storage {storage_id!r} cannot be used for now, try another server: {served.suspended}"
        )
    if served.read_only and not read_only:
        refusals[Refusal.READ_ONLY] += 1
        client.wants_to_write = True
        raise ReadOnlyError(f"storage {storage_id!r} is served read-only")
    if not read_only:
        check_may_write(client, roles, storage_id)
    if not served.is_behind:
        return _registered(client, served, roles, bool(read_only))
    # The client must not miss what was committed before, by another server's clients.
    up_to_date = served.up_to_date()
    return up_to_date.addCallback(lambda _: _registered(client, served, roles, bool(read_only)))


def _registered(
    client: ServerConnection, served: ServedStorage, roles: frozenset[Role], read_only: bool
) -> bytes | None:
    if client.gone:
        return None
    if client.registered is not None:
        raise StorageTransactionError("this client has registered already")
    client.roles = roles
    client.read_only = read_only or served.read_only
    client.registered = served
    client.iteration = Iteration(served, client.slow)
    client.peer.registered()
    _log.debug("({label}) uses storage {id!r}", label=client.label, id=served.storage_id)
    return served.register(client)


def remote_set_client_label(client: ServerConnection, label: str | bytes) -> None:
    # Decode only the first 80 characters, of 4 bytes at most: a label may be as long as a message.
    start = label[:320]
    text = start.decode("utf-8", "replace") if isinstance(start, bytes) else start
    # With a line break, a client could forge log lines.
    printable = "".join(char if char.isprintable() else "?" for char in text[:80])
    name = client.where.chosen(printable)
    if name == client.label:
        return
    client.label = name
    kind = Kind.RELABELLED if client.is_labelled else Kind.CAME_OR_WENT
    client.is_labelled = True
    if client.admit(kind):
        _log.info(
            "({label}) connected: {peer} is {name}",
            label=name,
            peer=client.where,
            name=printable,
        )
