"""A setting has one description; Python's names and defaults agree with it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from zeotwisted.config import Setting, server_settings
from zeotwisted.config.server import parse_server_config
from zeotwisted.storageserver import ServerOptions
from zeotwisted.tap import Options

SETTINGS = {setting.key: setting for setting in server_settings()}


def test_names_and_defaults_are_those_of_server_options() -> None:
    ours = {field.name: field.default for field in fields(ServerOptions)}
    described = {setting.attribute: setting.default for setting in server_settings()}
    # An environment variable may switch it on, so that a file has no default.
    assert described.pop("msgpack") is None
    assert ours.pop("msgpack") is False
    assert described == ours


@pytest.mark.parametrize("setting", server_settings(), ids=lambda setting: setting.key)
def test_each_is_an_option(setting: Setting) -> None:
    options = Options()
    assert setting.key in options.longOpt or f"{setting.key}=" in options.longOpt
    assert options[setting.key] == (0 if setting.is_flag else setting.default)
    help_text = " ".join(str(options).split())
    assert setting.summary in help_text


@pytest.mark.parametrize("setting", server_settings(), ids=lambda setting: setting.key)
def test_a_summary_is_a_sentence_without_a_full_stop(setting: Setting) -> None:
    assert setting.description.startswith(setting.summary)
    assert 10 < len(setting.summary) <= 110
    assert setting.summary[0].isupper()
    assert not setting.summary.endswith(".")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("invalidation-queue-size", "7", 7),
        ("invalidation-queue-bytes", "1MB", 2**20),
        ("record-cache-bytes", "1MB", 2**20),
        ("transaction-timeout", "0.5", 0.5),
        ("message-limit", "64KB", 2**16),
        ("protocol-limit", "5", 5),
    ],
)
def test_an_option_and_a_file_mean_the_same(key: str, text: str, value: Any) -> None:
    options = Options()
    options.parseOptions([f"--{key}", text])
    conf = f"<zeo>\naddress 8100\n{key} {text}\n</zeo>\n<mappingstorage>\n</mappingstorage>\n"
    config = parse_server_config(conf)
    assert options[key] == config.settings[SETTINGS[key].attribute] == value


@pytest.mark.parametrize(
    ("key", "text", "remedy"),
    [
        ("transaction-timeout", "-1", "write a number of seconds, or 0 for no timeout"),
        ("spool-dir", "nowhere", "create the directory, or correct the path"),
        ("protocol-limit", "7", "write 5 or 6"),
    ],
)
def test_what_to_write_instead(key: str, text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        SETTINGS[key].convert(text)
