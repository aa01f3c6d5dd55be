"""Makes the `Access` of a server from the sections ``<access>`` and ``<group>``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from zeotwisted.access import Access, Policy
from zeotwisted.protocol import Role

__all__ = ["AccessMistake", "access_from", "policy_from"]

#: The keys of an <access> section.
GIVEN_ROLES = tuple(role for role in Role if role is not Role.NONE)


class AccessMistake(ValueError):
    """A section cannot be used.

    :ivar section: the section.
    :ivar what: the mistake.
    :ivar remedy: what to write instead.
    """

    def __init__(self, section: Any, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.section = section
        self.what = what
        self.remedy = remedy


def access_from(
    sections: Iterable[Any], groups: Iterable[Any], storages: Collection[str]
) -> Access | None:
    """Return the roles that the sections give; None if there are no <access> sections.

    :param storages: the names of the storages that are served.
    :raises AccessMistake: a section names a group or a storage that does not exist.
    """
    sections = list(sections)
    members = {group.getSectionName(): _union(group.members) for group in groups}
    by_name = {group.getSectionName(): group for group in groups}
    for name, names in members.items():
        _check_groups(by_name[name], names, members)
    if not sections:
        return None
    # A storage that has no policy is closed, if any other has one.
    default: Policy | None = None
    policies: dict[str, Policy] = {}
    for section in sections:
        policy = {role: _union(getattr(section, role.value)) for role in GIVEN_ROLES}
        for names in policy.values():
            _check_groups(section, names, members)
        storage = section.getSectionName()
        if storage is None:
            if default is not None:
                raise AccessMistake(
                    section,
                    "a second <access> without a name",
                    "name the storage that it is for, as in <access 1>, or join the two",
                )
            default = policy_from(policy)
        elif storage not in storages:
            known = ", ".join(sorted(storages))
            raise AccessMistake(
                section,
                f"<access {storage}>: there is no storage of that name",
                f"name one of the storages, which are {known}, or none for all others",
            )
        else:
            policies[storage] = policy_from(policy)
    return Access(default or {}, policies, members)


def policy_from(roles: Mapping[Role, frozenset[str]]) -> Policy:
    """Return `roles` without those that no client has."""
    return {role: names for role, names in roles.items() if names}


def _union(values: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*values)


def _check_groups(section: Any, names: frozenset[str], groups: Collection[str]) -> None:
    for name in sorted(names):
        kind, _, group = name.partition(":")
        if kind == "group" and group not in groups:
            raise AccessMistake(
                section,
                f"group:{group}: there is no such group",
                f"add a section <group {group}>, or correct the name",
            )
