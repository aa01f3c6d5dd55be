"""The section <http>."""

from __future__ import annotations

from typing import Any

import pytest

from zeotwisted.access import Identity
from zeotwisted.config.server import ConfigurationError, parse_server_config
from zeotwisted.protocol import Role


def parsed(section: str, more: str = "") -> Any:
    return parse_server_config(
        f"<zeo>\naddress 127.0.0.1:0\n{more}<http>\n{section}</http>\n</zeo>\n"
        "<mappingstorage 1>\n</mappingstorage>\n"
    )


def test_it_is_off_by_default() -> None:
    text = "<zeo>\naddress 127.0.0.1:0\n</zeo>\n<mappingstorage 1>\n</mappingstorage>\n"
    assert parse_server_config(text).http is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("8180", ("127.0.0.1", 8180)),
        ("0.0.0.0:8180", ("0.0.0.0", 8180)),
        ("[::1]:8180", ("::1", 8180)),
        ("/run/zeo-http.sock", "/run/zeo-http.sock"),
    ],
)
def test_addresses(address: str, expected: Any) -> None:
    http = parsed(f"address {address}\n").http
    assert http.listener.address == expected and http.names == frozenset()


def test_names_and_roles_of_its_own() -> None:
    config = parsed(
        "address 8180\nnames Zeo.example zeo\n<access>\nread user:anna\n</access>\n",
    )
    assert config.http.names == {"zeo.example", "zeo"}
    assert Role.READ in config.http.listener.access.roles(Identity.of("user:anna"), "1")
    assert config.access is None
    assert any(line.startswith("http 127.0.0.1:8180 allow read user:anna") for line in config.roles)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("", "no values for 'address'; 1 required"),
        ("address nowhere\n", "line 4: address: 'nowhere' is not an address"),
        ("address 8180\nnames a:80\n", "line 5: names: 'a:80' is not the name of a host; write"),
        ("address 8180\n<access>\nread group:x\n</access>\n", "group:x: there is no such group"),
        ("address 8180\n<ssl>\n</ssl>\n", "<ssl>: no certificate"),
    ],
)
def test_mistakes(section: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parsed(section)
    assert message in str(caught.value)
