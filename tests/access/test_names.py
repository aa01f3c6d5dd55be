"""The names in a configuration."""

from __future__ import annotations

import pytest

from zeotwisted.access import EVERYBODY, parse_name, parse_names

DIGITS = "0123456789abcdef" * 4


def test_names() -> None:
    assert parse_names("everybody") == {EVERYBODY}
    assert parse_names("") == frozenset()
    assert parse_names(" user:anna  unix-group:www-data ") == {"user:anna", "unix-group:www-data"}
    assert parse_names("'subject:CN=Zope 1,O=Us' group:x") == {"subject:CN=Zope 1,O=Us", "group:x"}


def test_fingerprints_have_one_form() -> None:
    with_colons = ":".join(DIGITS[at : at + 2] for at in range(0, 64, 2)).upper()
    assert parse_name(f"fingerprint:{with_colons}") == f"fingerprint:{DIGITS}"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("anna", "write user:NAME"),
        ("user:", "write user:NAME"),
        ("uid:5", "write user:NAME"),
        ("Everybody", "or everybody"),
        ("fingerprint:12ab", "64 hexadecimal digits"),
        ("'user:anna", "close each quotation mark"),
    ],
)
def test_mistakes(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        parse_names(text)
