"""Roles: what a client may do with a storage.

Each call of `methods.SERVER_CALLS` names the role that it needs. A server decides which roles a
client has.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

__all__ = ["ALL_ROLES", "WRITING", "Role", "expanded"]


class Role(Enum):
    """A right. The values are the words of configurations and messages."""

    #: For calls that every client may make. All clients have it.
    NONE = "none"
    #: Read records, blobs, histories and the log of transactions.
    READ = "read"
    #: Commit transactions.
    WRITE = "write"
    #: Undo transactions.
    UNDO = "undo"
    #: Pack the storage.
    PACK = "pack"
    #: Follow the storage as a standby: read, and tell what the copy has.
    FOLLOW = "follow"
    #: All of these, and copy the history of another storage (``restore``).
    ADMINISTER = "administer"

    def __str__(self) -> str:
        return self.value


ALL_ROLES = frozenset(Role)

#: The roles for calls that are parts of a transaction. A client that reads only makes none of them.
WRITING = frozenset({Role.WRITE, Role.UNDO, Role.ADMINISTER})

#: The roles that a role includes.
_INCLUDES: dict[Role, frozenset[Role]] = {
    Role.NONE: frozenset(),
    Role.READ: frozenset(),
    Role.WRITE: frozenset({Role.READ}),
    # An undo is a transaction.
    Role.UNDO: frozenset({Role.READ, Role.WRITE}),
    Role.FOLLOW: frozenset({Role.READ}),
    # A client that packs need not see the data.
    Role.PACK: frozenset(),
    Role.ADMINISTER: ALL_ROLES,
}


def expanded(roles: Iterable[Role]) -> frozenset[Role]:
    """Return `roles`, the roles that they include, and `Role.NONE`."""
    given = frozenset(roles)
    return given.union({Role.NONE}, *(_INCLUDES[role] for role in given))
