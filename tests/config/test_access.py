"""The sections <access> and <group>."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from zeotwisted.access import ANONYMOUS, Identity
from zeotwisted.config import access_from_lines
from zeotwisted.config.server import ConfigurationError, parse_server_config
from zeotwisted.protocol import Role

ANNA, BEN = Identity.of("user:anna"), Identity.of("user:ben")
STORAGES = "<mappingstorage 1>\n</mappingstorage>\n<mappingstorage temp>\n</mappingstorage>\n"


def parsed(sections: str) -> Any:
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
            "configuration, line 4: group:team: there is no such group; add a section <group team>",
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


def from_lines(*lines: str, accounts: str | None = None) -> Any:
    return access_from_lines(lines, accounts, None, {"1", "temp"})


def test_roles_from_options() -> None:
    assert from_lines() is None
    access = from_lines("write user:anna", "write user:ben", "temp/read everybody")
    write = {Role.NONE, Role.READ, Role.WRITE}
    assert access.roles(ANNA, "1") == access.roles(BEN, "1") == write
    assert access.roles(ANONYMOUS, "1") == {Role.NONE}
    assert access.roles(ANONYMOUS, "temp") == {Role.NONE, Role.READ}
    assert from_lines("temp/read everybody").roles(ANNA, "1") == {Role.NONE}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("write", "write ROLE NAMES, for example 'write user:zope'; the roles are read, write"),
        ("none everybody", "the roles are read"),
        ("fly everybody", "the roles are read"),
        ("main/read everybody", "there is no storage 'main'; name one of those"),
        ("read anna", "'anna' is not a name of clients; write user:NAME"),
        ("read group:team", "groups are defined in a configuration file; use --conf"),
    ],
)
def test_mistakes_in_options(line: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_lines(line)
    assert message in str(caught.value)
    assert f"--allow {line!r}" in str(caught.value)


def test_accounts_from_options(tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    path.write_text("")
    assert from_lines("read user:anna", accounts=str(path)).accounts.path == str(path)
    with pytest.raises(ValueError, match="--accounts: nobody needs an account"):
        from_lines(accounts=str(path))
    with pytest.raises(ValueError, match="zeotwisted user add"):
        from_lines("read user:anna", accounts=str(tmp_path / "missing"))
