"""The sections <standby>."""

from __future__ import annotations

import pytest

from zeotwisted.config import ConfigurationError, parse_server_config

STORAGES = "<mappingstorage 1>\n</mappingstorage>\n<mappingstorage temp>\n</mappingstorage>\n"
ONE = "<mappingstorage main>\n</mappingstorage>\n"


def parsed(sections: str, storages: str = STORAGES) -> tuple:
    text = f"<zeo>\naddress 127.0.0.1:0\n{sections}</zeo>\n{storages}"
    return parse_server_config(text).standbys


def test_none() -> None:
    assert parsed("") == ()


def test_one_storage_needs_no_name() -> None:
    (standby,) = parsed("<standby>\nprimary 10.0.0.1:8100\nprimary /run/zeo\n</standby>\n", ONE)
    assert standby.storage_id == "main"
    assert standby.primary == (("10.0.0.1", 8100), "/run/zeo")
    assert (standby.most_lag, standby.options) == (60.0, {"storage": "main"})


def test_all_keys() -> None:
    keys = "primary 8100\nstorage other\nmax-lag 2.5\nusername me\npassword-file pw\nrealm here\n"
    (standby,) = parsed(f"<standby temp>\n{keys}</standby>\n")
    assert (standby.storage_id, standby.most_lag) == ("temp", 2.5)
    assert standby.options == {
        "storage": "other",
        "username": "me",
        "password_file": "pw",
        "realm": "here",
    }


PRIMARY = "primary 127.0.0.1:8100\n"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (f"<standby>\n{PRIMARY}</standby>\n", "which storage it is for is not said; name one of"),
        (f"<standby 2>\n{PRIMARY}</standby>\n", "<standby 2>: there is no storage of that name"),
        ("<standby 1>\n</standby>\n", "add a line that begins with primary"),
        (f"<standby 1>\n{PRIMARY}max-lag 0\n</standby>\n", "max-lag"),
        (
            f"<standby 1>\n{PRIMARY}<ssl>\nauthenticate /no/file\n</ssl>\n</standby>\n",
            "<ssl>: authenticate",
        ),
    ],
)
def test_mistakes(sections: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parsed(sections)
    assert message in str(caught.value)
    assert "line " in str(caught.value)
