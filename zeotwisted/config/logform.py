"""The form of the daemon's own log that applies: that of options, the environment, or the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ZConfig.datatypes import asBoolean

from .effective import variable
from .loglevels import parse_levels
from .server import ServerConfig

__all__ = ["LogForm", "log_form"]

_DEFAULT = "default"


@dataclass(frozen=True)
class LogForm:
    """The form of a log, and where it comes from.

    :ivar json: write lines of JSON.
    :ivar levels: see `loglevels.parse_levels`.
    :ivar sources: for each of the two, a text for users, such as ``zeo.conf, line 3``.
    """

    json: bool
    levels: Mapping[str, str]
    sources: tuple[str, str]

    @property
    def lines(self) -> list[str]:
        """The two as lines of a configuration, with their sources."""
        levels = [f"{part}={level}" if part else level for part, level in self.levels.items()]
        return [
            f"log-level {','.join(levels)}  # {self.sources[1]}",
            f"log-json {'on' if self.json else 'off'}  # {self.sources[0]}",
        ]


def log_form(
    json: bool, level: str | None, environment: Mapping[str, str], config: ServerConfig | None
) -> LogForm:
    """Return the form of the log.

    :param json: whether the option ``--log-json`` is given.
    :param level: the value of the option ``--log-level``, or None.
    :param environment: the environment variables.
    :param config: the configuration from a file, or None.
    :raises ValueError: a value cannot be used; the text is one line with the remedy.
    """
    is_json, json_source = _json(json, environment, config)
    levels, level_source = _levels(level, environment, config)
    return LogForm(is_json, levels, (json_source, level_source))


def _json(
    given: bool, environment: Mapping[str, str], config: ServerConfig | None
) -> tuple[bool, str]:
    if given:
        return True, "option --log-json"
    name = variable("log-json")
    text = environment.get(name, "")
    if text:
        try:
            return asBoolean(text), f"environment variable {name}"
        except ValueError:
            raise ValueError(f"{name}={text}: write on or off") from None
    if config is not None:
        return config.log_json, config.places.get("log-json", _DEFAULT)
    return False, _DEFAULT


def _levels(
    given: str | None, environment: Mapping[str, str], config: ServerConfig | None
) -> tuple[Mapping[str, str], str]:
    if given:
        return _parsed(given, f"--log-level {given}"), "option --log-level"
    name = variable("log-level")
    text = environment.get(name, "")
    if text:
        return _parsed(text, f"{name}={text}"), f"environment variable {name}"
    if config is not None:
        return config.log_levels, config.places.get("log-level", _DEFAULT)
    return parse_levels("info"), _DEFAULT


def _parsed(text: str, what: str) -> Mapping[str, str]:
    try:
        return parse_levels(text)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
