"""Which roles an identity has."""

from __future__ import annotations

from zeotwisted.access import ANONYMOUS, EVERYBODY, OPEN, Access, Identity
from zeotwisted.protocol import ALL_ROLES, Role

ANNA = Identity.of("user:anna")
BEN = Identity.of("unix-user:ben", "unix-group:www")


def test_without_a_policy_all_may_do_everything() -> None:
    assert OPEN.is_open
    assert OPEN.admits_everybody
    assert OPEN.roles(ANONYMOUS, "1") == ALL_ROLES


def test_roles_of_identities_groups_and_everybody() -> None:
    access = Access(
        {
            Role.READ: frozenset({EVERYBODY}),
            Role.WRITE: frozenset({"user:anna"}),
            Role.PACK: frozenset({"unix-group:www"}),
        }
    )
    assert not access.is_open
    assert access.admits_everybody
    assert access.roles(ANONYMOUS, "1") == {Role.NONE, Role.READ}
    assert access.roles(ANNA, "1") == {Role.NONE, Role.READ, Role.WRITE}
    assert access.roles(BEN, "1") == {Role.NONE, Role.READ, Role.PACK}
    assert access.roles(ANNA.joined(BEN), "1") == {Role.NONE, Role.READ, Role.WRITE, Role.PACK}


def test_a_storage_with_a_policy_of_its_own() -> None:
    access = Access(
        {Role.WRITE: frozenset({"user:anna"})}, {"temp": {Role.READ: frozenset({"unix-user:ben"})}}
    )
    assert not access.admits_everybody
    assert access.roles(ANNA, "1") == {Role.NONE, Role.READ, Role.WRITE}
    assert access.roles(ANNA, "temp") == {Role.NONE}
    assert access.roles(BEN, "temp") == {Role.NONE, Role.READ}
    assert access.roles(BEN, "1") == {Role.NONE}


def test_one_storage_with_a_policy_is_not_open() -> None:
    assert not Access(storages={"temp": {}}).is_open
    assert Access(storages={"temp": {}}).roles(ANONYMOUS, "1") == ALL_ROLES
    assert Access(storages={"temp": {}}).roles(ANONYMOUS, "temp") == {Role.NONE}


def test_groups_of_groups() -> None:
    groups = {
        # In an order in which one pass is not enough; and one that is a member of itself.
        "all": frozenset({"group:editors", "group:all"}),
        "editors": frozenset({"group:inner"}),
        "inner": frozenset({"user:anna"}),
    }
    access = Access({Role.WRITE: frozenset({"group:all"})}, groups=groups)
    assert Role.WRITE in access.roles(ANNA, "1")
    assert access.roles(BEN, "1") == {Role.NONE}


def test_a_label_cannot_forge_lines_of_a_log() -> None:
    odd = Identity.of("certificate:x\n2026 [info] all is well\x1b[2K" + "y" * 1000)
    assert odd.label.startswith("certificate:x?2026 [info] all is well?[2K")
    assert len(odd.label) == 100
    assert "certificate:x\n2026 [info] all is well\x1b[2K" + "y" * 1000 in odd.names
