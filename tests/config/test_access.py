"""The sections <access> and <group>."""

from __future__ import annotations

import pytest

from zeotwisted.access import ANONYMOUS, Identity
from zeotwisted.config.server import ConfigurationError, parse_server_config
from zeotwisted.protocol import Role

ANNA, BEN = Identity.of("user:anna"), Identity.of("user:ben")
STORAGES = "<mappingstorage 1>\n</mappingstorage>\n<mappingstorage temp>\n</mappingstorage>\n"


def parsed(sections: str) -> object:
    return parse_server_config(f"<zeo>\naddress 127.0.0.1:0\n{sections}\n</zeo>\n{STORAGES}").access


def test_without_sections_there_are_no_roles() -> None:
    assert parsed("") is None


def test_roles_for_all_storages_and_for_one() -> None:
    access = parsed(
        "<access>\n  write user:anna group:team\n  write 'subject:CN=A B'\n  pack user:anna\n"
        "</access>\n"
        "<access temp>\n  read everybody\n</access>\n"
        "<group team>\n  member user:ben\n</group>"
    )
    write = {Role.NONE, Role.READ, Role.WRITE}
    assert access.roles(ANNA, "1") == write | {Role.PACK}
    assert access.roles(BEN, "1") == write
    assert access.roles(Identity.of("subject:CN=A B"), "1") == write
    assert access.roles(ANONYMOUS, "1") == {Role.NONE}
    assert access.roles(ANNA, "temp") == access.roles(ANONYMOUS, "temp") == {Role.NONE, Role.READ}


def test_with_a_section_for_one_storage_the_others_are_closed() -> None:
    access = parsed("<access temp>\n  read everybody\n</access>")
    assert access.roles(ANNA, "1") == {Role.NONE}


def test_an_empty_section_closes() -> None:
    assert parsed("<access>\n</access>").roles(ANNA, "1") == {Role.NONE}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            "<access>\nwrite anna\n</access>",
            "configuration, line 4: write: 'anna' is not a name of clients; write user:NAME",
        ),
        (
            "<access>\nwrite group:team\n</access>",
            "configuration, line 3: group:team: there is no such group; add a section <group team>",
        ),
        (
            "<group team>\nmember group:other\n</group>",
            "configuration, line 3: group:other: there is no such group; add a section",
        ),
        (
            "<access main>\n</access>",
            "configuration, line 3: <access main>: there is no storage of that name; name one of "
            "the storages, which are 1, temp",
        ),
        ("<access>\nfly everybody\n</access>", "configuration, line 4: 'fly' is not a known key"),
        ("<access>\n</access>\n<access>\n</access>", "line 5: a second <access> without a name"),
        ("<group>\nmember everybody\n</group>", "line 3"),
    ],
)
def test_mistakes(sections: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parsed(sections)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
