"""Which roles an identity has for each storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zeotwisted.protocol import ALL_ROLES, Role, expanded

from .accounts import Accounts
from .identity import Identity
from .names import EVERYBODY

__all__ = ["OPEN", "Access", "Policy"]

#: For each role, the names of the identities that have it.
Policy = Mapping[Role, frozenset[str]]

_EVERYTHING: Policy = {Role.ADMINISTER: frozenset({EVERYBODY})}


@dataclass(frozen=True)
class Access:
    """Which roles clients have.

    :ivar default: for storages that have no policy of their own.
    :ivar storages: the policies of storages, by their names.
    :ivar groups: the members of each group, which may be names of other kinds, also of groups.
    :ivar accounts: the users that can prove their names with a password; None if there are none. It
        may also be an `ICredentialsChecker` of ``twisted.cred`` that accepts
        `IUsernameHashedPassword`.
    :ivar realm: a name of the accounts, which a client can ask for; empty for none.
    """

    default: Policy = field(default_factory=lambda: _EVERYTHING)
    storages: Mapping[str, Policy] = field(default_factory=dict)
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    accounts: Accounts | Any = None
    realm: str = ""

    @property
    def is_open(self) -> bool:
        """Whether every client may do everything with every storage."""
        return all(policy == _EVERYTHING for policy in (self.default, *self.storages.values()))

    @property
    def admits_everybody(self) -> bool:
        """Whether a client without an identity has a role for any storage."""
        return any(
            EVERYBODY in names
            for policy in (self.default, *self.storages.values())
            for names in policy.values()
        )

    def everybody_may(self, role: Role) -> bool:
        """Return whether every client has a role for some storage."""
        return any(
            role in expanded(each for each, names in policy.items() if EVERYBODY in names)
            for policy in (self.default, *self.storages.values())
        )

    def roles(self, identity: Identity, storage_id: str) -> frozenset[Role]:
        """Return the roles of a client for a storage, among them those that others include."""
        policy = self.storages.get(storage_id, self.default)
        if policy is _EVERYTHING:
            return ALL_ROLES
        names = self._with_groups(identity)
        return expanded(role for role, given in policy.items() if not given.isdisjoint(names))

    def _with_groups(self, identity: Identity) -> frozenset[str]:
        names = set(identity.names)
        # A group may be a member of a group, in any order. Each round adds a group, or is the last.
        while True:
            more = {
                f"group:{group}"
                for group, members in self.groups.items()
                if not members.isdisjoint(names)
            } - names
            if not more:
                return frozenset(names)
            names |= more


#: Every client may do everything.
OPEN = Access()
