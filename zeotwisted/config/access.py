"""Makes the `Access` of a server from the sections ``<access>`` and ``<group>``."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from zeotwisted.access import Access, AccountFile, AccountFileError, Policy, parse_names
from zeotwisted.protocol import Role

from .listeners import described

__all__ = [
    "ROLES_BY_DEFAULT",
    "AccessMistake",
    "AccessReader",
    "access_from_lines",
    "shown_roles",
]

#: What ``--show-config`` says where nothing gives roles.
ROLES_BY_DEFAULT = f"allow {Role.ADMINISTER.value} everybody  # default"

#: The keys of an <access> section.
GIVEN_ROLES = tuple(role for role in Role if role is not Role.NONE)


class AccessMistake(ValueError):
    """A section cannot be used.

    :ivar section: the section.
    :ivar what: the mistake.
    :ivar remedy: what to write instead.
    :ivar key: the key that has the mistake, or None if it is in no single one.
    """

    def __init__(self, section: Any, what: str, remedy: str, key: str | None = None) -> None:
        super().__init__(f"{what}; {remedy}")
        self.section = section
        self.what = what
        self.remedy = remedy
        self.key = key


class AccessReader:
    """Reads the <access> sections of a configuration.

    :param zeo: the value of the section <zeo>, which has the groups and the accounts.
    :param storages: the names of the storages that are served.
    :raises AccessMistake: a group names one that does not exist, or the file with the accounts
        cannot be used.
    """

    def __init__(self, zeo: Any, storages: Collection[str]) -> None:
        self._zeo = zeo
        self._storages = storages
        self._accounts = _accounts(zeo)
        self._groups = {group.getSectionName(): _union(group.members) for group in zeo.groups}
        for group in zeo.groups:
            _check_groups(group, self._groups[group.getSectionName()], self._groups, "members")

    def of_server(self) -> Access | None:
        """Return the roles that the sections of <zeo> give; None if there are none.

        :raises AccessMistake: a section names a group or a storage that does not exist, or nothing
            needs the accounts.
        """
        sections = [self._zeo, *self._zeo.listeners, *([self._zeo.http] if self._zeo.http else [])]
        if self._accounts is not None and not any(section.access for section in sections):
            raise AccessMistake(
                self._zeo,
                "accounts: nobody needs an account, as there is no section <access>",
                "add one that gives roles, as in write user:zope",
                "accounts",
            )
        return self.of(self._zeo)

    def of(self, section: Any) -> Access | None:
        """Return the roles that the <access> sections in a section give; None if there are none.

        :raises AccessMistake: one of them names a group or a storage that does not exist.
        """
        if not section.access:
            return None
        # A storage that has no policy is closed, if any other has one.
        default: Policy | None = None
        policies: dict[str, Policy] = {}
        for each in section.access:
            policy = self._policy(each)
            storage = each.getSectionName()
            if storage is not None:
                policies[storage] = policy
            elif default is None:
                default = policy
            else:
                raise AccessMistake(
                    each,
                    "a second <access> without a name",
                    "name the storage that it is for, as in <access 1>, or join the two",
                )
        realm = self._zeo.realm or ""
        return Access(default or {}, policies, self._groups, self._accounts, realm)

    def _policy(self, section: Any) -> Policy:
        storage = section.getSectionName()
        if storage is not None and storage not in self._storages:
            known = ", ".join(sorted(self._storages))
            raise AccessMistake(
                section,
                f"<access {storage}>: there is no storage of that name",
                f"name one of the storages, which are {known}, or none for all others",
            )
        policy = {role: _union(getattr(section, role.value)) for role in GIVEN_ROLES}
        for role, names in policy.items():
            _check_groups(section, names, self._groups, role.value)
        return {role: names for role, names in policy.items() if names}


def shown_roles(zeo: Any, place_of: Callable[[Any, str], str | None]) -> Iterator[str]:
    """Yield what the sections of a configuration give, as ``--show-config`` prints it.

    :param zeo: the value of the section <zeo>.
    :param place_of: returns file and line of a key in a section.
    """
    for key in ("accounts", "realm"):
        if getattr(zeo, key) is not None:
            yield f"{key} {getattr(zeo, key)}  # {place_of(zeo, key)}"
    for group in zeo.groups:
        members = _written(_union(group.members))
        yield f"group {group.getSectionName()} {members}  # {place_of(group, 'member')}"
    if not zeo.access:
        yield ROLES_BY_DEFAULT
    yield from _given(zeo, "", place_of)
    for section in zeo.listeners:
        yield from _given(section, f"listen {described(section.address)} ", place_of)
    if zeo.http is not None:
        yield from _given(zeo.http, f"http {described(zeo.http.address)} ", place_of)


def _given(section: Any, prefix: str, place_of: Callable[[Any, str], str | None]) -> Iterator[str]:
    for each in section.access:
        storage = each.getSectionName()
        start = f"{prefix}allow " + ("" if storage is None else f"{storage}/")
        lines = [
            f"{start}{role.value} {_written(names)}  # {place_of(each, role.value)}"
            for role in GIVEN_ROLES
            if (names := _union(getattr(each, role.value)))
        ]
        yield from lines or [f"{start}nothing  # {place_of(each, '')}"]


def _written(names: Iterable[str]) -> str:
    return " ".join(f'"{name}"' if " " in name else name for name in sorted(names))


def access_from_lines(
    lines: Iterable[str], accounts: str | None, realm: str | None, storages: Collection[str]
) -> Access | None:
    """Return the roles that command line options give; None if there are none.

    :param lines: each is ``ROLE NAMES`` for all storages, or ``STORAGE/ROLE NAMES``; the names are
        those of an <access> section.
    :param accounts: the path of a file of accounts, or None.
    :raises ValueError: one of them cannot be used; the text says what to write instead.
    """
    policies: dict[str | None, dict[Role, frozenset[str]]] = {None: {}}
    for line in lines:
        storage, role, names = _parsed(line, storages)
        policy = policies.setdefault(storage, {})
        policy[role] = policy.get(role, frozenset()) | names
    known = None if accounts is None else AccountFile(os.path.abspath(accounts))
    if not lines:
        if known is not None:
            raise ValueError("--accounts: nobody needs an account; add --allow 'write user:NAME'")
        return None
    default = policies.pop(None)
    return Access(
        default, {str(name): policy for name, policy in policies.items()}, {}, known, realm or ""
    )


def _parsed(line: str, storages: Collection[str]) -> tuple[str | None, Role, frozenset[str]]:
    what, _, text = line.partition(" ")
    storage, slash, word = what.rpartition("/")
    roles = {role.value: role for role in GIVEN_ROLES}
    if word not in roles or not text.strip():
        raise ValueError(
            f"--allow {line!r}: write ROLE NAMES, for example 'write user:zope'; the roles are "
            f"{', '.join(roles)}"
        )
    if slash and storage not in storages:
        raise ValueError(
            f"--allow {line!r}: there is no storage {storage!r}; name one of those that are "
            f"served, {', '.join(sorted(storages))}"
        )
    try:
        names = parse_names(text)
    except ValueError as error:
        raise ValueError(f"--allow {line!r}: {error}") from None
    groups = sorted(name for name in names if name.startswith("group:"))
    if groups:
        raise ValueError(
            f"--allow {line!r}: {groups[0]}: groups are defined in a configuration file; use --conf"
        )
    return storage if slash else None, roles[word], names


def _accounts(zeo: Any) -> AccountFile | None:
    if zeo.accounts is None:
        return None
    try:
        return AccountFile(os.path.abspath(os.path.expanduser(zeo.accounts)))
    except AccountFileError as error:
        what, _, remedy = str(error).rpartition("; ")
        raise AccessMistake(zeo, f"accounts: {what}", remedy, "accounts") from None


def _union(values: Iterable[frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*values)


def _check_groups(section: Any, names: frozenset[str], groups: Collection[str], key: str) -> None:
    for name in sorted(names):
        kind, _, group = name.partition(":")
        if kind == "group" and group not in groups:
            raise AccessMistake(
                section,
                f"group:{group}: there is no such group",
                f"add a section <group {group}>, or correct the name",
                key,
            )
