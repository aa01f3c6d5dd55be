"""Where a setting comes from: an option, the environment, the file, or the default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zeotwisted.config.effective import effective_settings, variable
from zeotwisted.config.server import parse_server_config
from zeotwisted.config.settings import server_settings
from zeotwisted.tap import Options

CONFIG = """<zeo>
address 8100
transaction-timeout 30
msgpack off
</zeo>
<mappingstorage>
</mappingstorage>
"""


def effective(
    key: str, environment: dict[str, str], text: str | None = CONFIG, **given: object
) -> tuple[object, str]:
    config = None if text is None else parse_server_config(text)
    options = {name.replace("_", "-"): value for name, value in given.items()}
    settings = effective_settings(options, environment, config)
    (found,) = [each for each in settings if each.setting.key == key]
    return found.value, found.source


def test_order() -> None:
    key = "transaction-timeout"
    environment = {"ZEO_TRANSACTION_TIMEOUT": "20"}
    assert effective(key, environment, transaction_timeout=60.0) == (
        60.0,
        "option --transaction-timeout",
    )
    assert effective(key, environment) == (
        20.0,
        "environment variable ZEO_TRANSACTION_TIMEOUT",
    )
    assert effective(key, {}) == (30.0, "configuration, line 3")
    assert effective(key, {}, None) == (60.0, "default")


def test_ZEO_MSGPACK_is_what_ZEO_takes_it_for() -> None:
    environment = {"ZEO_MSGPACK": "whatever"}
    assert effective("msgpack", environment) == (False, "configuration, line 4")
    assert effective("msgpack", environment, None) == (True, "environment variable ZEO_MSGPACK")
    assert effective("msgpack", environment, None, msgpack=True) == (True, "option --msgpack")
    assert effective("msgpack", {}, None) == (False, "default")


def test_an_empty_variable_says_nothing() -> None:
    assert effective("transaction-timeout", {"ZEO_TRANSACTION_TIMEOUT": ""})[0] == 30.0


@pytest.mark.parametrize("key", [each.key for each in server_settings() if each.key != "msgpack"])
def test_every_setting_has_a_variable(key: str) -> None:
    for text in ("on", "5", "1MB", "/tmp", "wait"):
        try:
            _, source = effective(key, {variable(key): text}, None)
        except ValueError as error:
            assert str(error).startswith(f"{variable(key)}={text}: ")
        else:
            assert source == f"environment variable {variable(key)}"
            return
    raise AssertionError(key)


def test_a_key_of_another_section_is_not_taken_for_it() -> None:
    text = CONFIG.replace("transaction-timeout 30\n", "").replace(
        "<mappingstorage>", "<mappingstorage>\n# transaction-timeout 1"
    )
    assert effective("transaction-timeout", {}, text) == (60.0, "default")


def test_words_and_lists_are_not_paths() -> None:
    options = Options()
    options.parseOptions(
        ["--pack-at-stop", "wait", "--conflict-classes", "a.B c", "--spool-dir", "."]
    )
    values = {each.setting.attribute: each.value for each in options.settings}
    assert values["pack_at_stop"] == "wait"
    assert values["conflict_classes"] == ("a.B", "c")
    assert values["spool_dir"] == os.getcwd()


def options(environment: dict[str, str], *given: str) -> Options:
    """Return the options of a command line in an environment."""
    parsed = Options()
    for name, value in environment.items():
        os.environ[name] = value
    try:
        parsed.parseOptions(given)
    finally:
        for name in environment:
            del os.environ[name]
    return parsed


def test_options_from_the_environment(tmp_path: Path) -> None:
    everything = {
        "ZEO_FILE": "Other.fs",
        "ZEO_BLOB_DIR": "other",
        "ZEO_LISTEN": "tcp:0 unix:zeo.sock",
        "ZEO_REALM": "here",
    }
    found = options(everything)
    assert (found["file"], found["blob-dir"], found["realm"]) == ("Other.fs", "other", "here")
    assert found["listen"] == ["tcp:0", "unix:zeo.sock"]
    found = options(everything, "--file", "Mine.fs", "--listen", "tcp:1")
    assert (found["file"], found["listen"]) == ("Mine.fs", ["tcp:1"])
    path = tmp_path / "zeo.conf"
    path.write_text(CONFIG)
    found = options(everything | {"ZEO_CONF": str(path)})
    assert found["conf"] == str(path)
    assert (found["file"], found["realm"]) == (None, None)
    assert found["listen"] == ["tcp:0", "unix:zeo.sock"]
    assert options({"ZEO_CONF": str(path)}, "--file", "Mine.fs")["conf"] is None


def test_mistakes_in_the_form_of_the_log() -> None:
    with pytest.raises(SystemExit, match="ZEO_LOG_LEVEL=loud: 'loud' is not a level"):
        options({"ZEO_LOG_LEVEL": "loud"})
    with pytest.raises(SystemExit, match="ZEO_LOG_JSON"):
        options({"ZEO_LOG_JSON": "perhaps"})
