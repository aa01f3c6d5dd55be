"""Admits clients with their roles, and refuses what they have no role for.

The exception is for the client's application. The line in the log is for the administrator.
"""

from __future__ import annotations

from twisted.logger import Logger
from ZODB.POSException import ReadOnlyError

from zeotwisted.exceptions import AccessDenied
from zeotwisted.protocol import Call, Role

from ..clientlabel import ClientLabel
from ..figures import Refusal
from ..floods import Kind, brief
from .connection import ServerConnection

__all__ = ["check_admitted", "check_may_write", "identify", "refusal"]

_log = Logger()


def identify(client: ServerConnection) -> None:
    """Add what the client's connection proves to what the client has proved so far."""
    if client.access.is_open:
        return
    client.identity = client.peer.identity().joined(client.identity)
    if not client.identity.is_anonymous:
        client.where = client.label = ClientLabel(client.peer.label, client.identity.label)


def check_admitted(client: ServerConnection, roles: frozenset[Role], storage_id: str) -> None:
    """Check that the client may register for a storage at all.

    :raises AccessDenied: it has no role for the storage.
    """
    if len(roles) > 1:
        return
    if client.identity.is_anonymous:
        what = (
            "this server admits only clients that it knows; connect with a certificate, a user "
            "name and password, or at its Unix socket"
        )
        if not client.peer.is_extended:
            what += ", and note that a client of ZEO can only have a certificate"
    else:
        what = (
            f"{client.identity.label} has no role for storage {storage_id!r}; "
            "ask the server's administrator for one"
        )
    raise _refused(client, f"register for {brief(repr(storage_id))}", AccessDenied(what))


def check_may_write(client: ServerConnection, roles: frozenset[Role], storage_id: str) -> None:
    """Check that the client may register for writing.

    :raises ZODB.POSException.ReadOnlyError: it may not. It may still register for reading.
    """
    if Role.WRITE not in roles:
        error = ReadOnlyError(
            f"{client.identity.label} may not write to storage {storage_id!r} of this server; "
            "it needs the role write"
        )
        raise _refused(client, f"write to {storage_id!r}", error)


def refusal(client: ServerConnection, call: Call) -> Exception:
    """Return the exception for a call whose role the client does not have."""
    storage_id = client.served.storage_id
    error = AccessDenied(
        f"{client.identity.label} may not call {call.name} of storage {storage_id!r}; "
        f"it needs the role {call.role}"
    )
    return _refused(client, call.name, error)


def _refused(client: ServerConnection, what: str, error: Exception) -> Exception:
    client.figures.refusals[Refusal.ROLE] += 1
    if client.peer.admit(Kind.REFUSED, detail=what.partition(" ")[0]):
        _log.warn(
            "({label}) refused: {what}: {error}; an <access> section or --allow gives roles",
            label=client.label,
            what=what,
            error=brief(error),
        )
    return error
