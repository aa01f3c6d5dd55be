"""The settings that apply: those of options, the environment, the file, and the defaults.

The first of these sources that has a setting wins, in that order. Each setting has a variable that
is named after its key: ``ZEO_TRANSACTION_TIMEOUT`` for ``transaction-timeout``. ``ZEO_MSGPACK`` is
also ZEO's. As there, any value switches msgpack on, unless an option or the file has that key.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .server import ServerConfig
from .settings import Setting, server_settings

__all__ = ["EffectiveSetting", "effective_settings", "variable"]


@dataclass(frozen=True)
class EffectiveSetting:
    """A setting, its value, and where the value comes from.

    :ivar source: a text for users, such as ``zeo.conf, line 3``.
    """

    setting: Setting
    value: Any
    source: str

    @property
    def line(self) -> str:
        """The setting as a line of a configuration, with its source."""
        return f"{self.setting.key} {_text(self.value)}  # {self.source}"


def variable(key: str) -> str:
    """Return the name of the environment variable for a key."""
    return "ZEO_" + key.upper().replace("-", "_")


def effective_settings(
    given: Mapping[str, Any], environment: Mapping[str, str], config: ServerConfig | None
) -> tuple[EffectiveSetting, ...]:
    """Return all settings, in the order of the schema.

    :param given: the values of options, by keys.
    :param environment: the environment variables.
    :param config: the configuration from a file, or None.
    :raises ValueError: a variable has a value that cannot be used; the text is one line with the
        remedy.
    """
    return tuple(
        EffectiveSetting(setting, *_value(setting, given, environment, config))
        for setting in server_settings()
    )


def _value(
    setting: Setting,
    given: Mapping[str, Any],
    environment: Mapping[str, str],
    config: ServerConfig | None,
) -> tuple[Any, str]:
    key = setting.key
    name = variable(key)
    text = environment.get(name, "")
    if key in given:
        return given[key], f"option --{key}"
    if text and key != "msgpack":
        return _converted(setting, name, text), f"environment variable {name}"
    if config is not None and key in config.places:
        return config.settings[setting.attribute], config.places[key]
    if text:
        return True, f"environment variable {name}"
    # A flag without a default in the schema is off.
    return (setting.default or False) if setting.is_flag else setting.default, "default"


def _converted(setting: Setting, name: str, text: str) -> Any:
    try:
        value = setting.convert(text)
    except ValueError as error:
        raise ValueError(f"{name}={text}: {error}") from None
    # twistd changes the current folder later.
    return os.path.abspath(value) if setting.is_path else value


def _text(value: Any) -> str:
    if value is None:
        return "(depends)"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(value) or "none"
    return f"{value:.15g}" if isinstance(value, float) else str(value)
