"""Reads the server's configuration from a file or a text, and checks it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zeotwisted.access import Access

from .access import AccessMistake, AccessReader, shown_roles
from .listeners import HTTPListener, Listener, TLSMistake, http_from, listeners_from
from .loader import ConfigurationError, Loader
from .logfiles import unwritable_logs
from .loglevels import parse_levels
from .places import missing_places
from .reactors import own_reactor
from .settings import server_settings
from .standbys import StandbyMistake, StandbySettings, standbys_from

__all__ = [
    "ConfigurationError",
    "ServerConfig",
    "StorageOpener",
    "parse_server_config",
    "parse_storages",
    "read_server_config",
    "read_text",
    "server_config",
    "storage_section",
]

#: The name of a storage whose section has none. Clients use the same default.
DEFAULT_NAME = "1"

StoragePath = str | os.PathLike[str]


@dataclass(frozen=True)
class StorageOpener:
    """A storage to serve, which is not open yet.

    :ivar name: the storage's name for clients.
    :ivar section: ZConfig's value of the storage's section; any object with an `open()`.
    """

    name: str
    section: Any

    def open(self) -> Any:
        return self.section.open()


@dataclass(frozen=True)
class ServerConfig:
    """The whole configuration of a server.

    :ivar listeners: where the server listens; at least one place.
    :ivar standbys: the storages that follow those of other servers.
    :ivar http: where it answers requests of HTTP, or None.
    :ivar settings: the values of `settings.server_settings`, by their attributes.
    :ivar eventlog: a function that sets up logging, or None if no logging is configured.
    :ivar log_json: write the daemon's own log as lines of JSON.
    :ivar log_levels: see `loglevels.parse_levels`.
    :ivar without_effect: the sections that mean nothing here, for the log.
    :ivar access: the roles of clients, or None if every client may do everything.
    :ivar roles: the roles and groups, with file and line of each, as lines for users.
    :ivar places: file and line of each setting, and of the form of the log, by their keys.
    """

    listeners: tuple[Listener, ...]
    storages: tuple[StorageOpener, ...]
    settings: Mapping[str, Any]
    pid_filename: str | None = None
    eventlog: Callable[[], Any] | None = None
    access: Access | None = None
    without_effect: tuple[str, ...] = ()
    roles: tuple[str, ...] = field(default=(), compare=False)
    places: Mapping[str, str] = field(default_factory=dict, compare=False)
    log_json: bool = False
    log_levels: Mapping[str, str] = field(default_factory=lambda: parse_levels("info"))
    http: HTTPListener | None = None
    standbys: tuple[StandbySettings, ...] = ()


def read_server_config(path: StoragePath) -> ServerConfig:
    """Return the configuration in the file at `path`.

    :raises ConfigurationError: the file cannot be read or has any error.
    """
    return server_config(*read_text(path))


def read_text(path: StoragePath) -> tuple[str, str, str]:
    """Return the text of a file, its name for messages, and its URL.

    :raises ConfigurationError: the file cannot be read.
    """
    source = os.fspath(path)
    try:
        # Some editors write a byte order mark. With plain utf-8 it would be part of the first line.
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"{source}, line {line}: the file is not UTF-8; save it in that encoding"
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"{source}: cannot be read: {reason}; check the path") from None
    return text, source, Path(path).absolute().as_uri()


def parse_server_config(text: str) -> ServerConfig:
    """Return the configuration `text`.

    :raises ConfigurationError: it has any error.
    """
    return server_config(text, "configuration", None)


def server_config(
    text: str,
    source: str,
    url: str | None,
    thorough: bool = False,
    numbers: Sequence[int] | None = None,
) -> ServerConfig:
    """Return the configuration `text`.

    :param source: its name in messages.
    :param url: its URL, to which the paths of %include are relative.
    :param thorough: also look at the storages' files and at the addresses.
    :param numbers: the numbers of the lines for messages, if they are not 1, 2, 3...
    :raises ConfigurationError: it has any error.
    """
    loader = Loader("schema.xml", source, url, numbers)
    config = loader.load(text)
    loader.check_lines()
    zeo = config.zeo
    mistakes = [
        loader.section_error(section, f"<logfile>: {what}", remedy)
        for section, what, remedy in unwritable_logs(config.eventlog)
    ]
    storages: tuple[StorageOpener, ...] = ()
    listeners: tuple[Listener, ...] = ()
    http: HTTPListener | None = None
    standbys: tuple[StandbySettings, ...] = ()
    of_server = None
    access_of: Callable[[Any], Access | None] = _no_access
    try:
        storages = _named(loader, config.storages)
        access = AccessReader(zeo, {storage.name for storage in storages})
        of_server = access.of_server()
        access_of = access.of
        standbys = standbys_from(zeo.standbys, {storage.name for storage in storages})
    except ConfigurationError as error:
        mistakes.append(error)
    except AccessMistake as mistake:
        mistakes.append(_placed(loader, mistake))
    except StandbyMistake as mistake:
        mistakes.append(loader.section_error(mistake.section, mistake.what, mistake.remedy))
    try:
        listeners = listeners_from(zeo, access_of)
        http = http_from(zeo, access_of)
    except (AccessMistake, TLSMistake) as mistake:
        mistakes.append(_placed(loader, mistake))
    else:
        if not listeners:
            mistakes.append(
                loader.section_error(
                    zeo,
                    "no values for 'address'; 1 required",
                    "add a line that begins with address",
                )
            )
    if thorough:
        for section, key, what, remedy in missing_places(zeo, config.storages):
            mistakes.append(loader.key_error(section, key, what, remedy))
    if mistakes:
        mistakes[0].more = tuple(mistakes[1:])
        raise mistakes[0]
    return ServerConfig(
        listeners=listeners,
        storages=storages,
        settings=_settings(zeo),
        pid_filename=zeo.pid_filename,
        eventlog=config.eventlog,
        access=of_server,
        without_effect=() if config.runner is None else ("<runner>",),
        roles=tuple(shown_roles(zeo, loader.key_place)),
        places=_places(loader, zeo),
        log_json=zeo.log_json,
        log_levels=zeo.log_level,
        http=http,
        standbys=standbys,
    )


def _placed(loader: Loader, mistake: AccessMistake | TLSMistake) -> ConfigurationError:
    return loader.section_error(mistake.section, mistake.what, mistake.remedy, mistake.key)


def _no_access(section: Any) -> None:
    return None


def _places(loader: Loader, zeo: Any) -> dict[str, str]:
    keys = [*(setting.key for setting in server_settings()), "log-json", "log-level"]
    places = {key: loader.key_place(zeo, key) for key in keys}
    return {key: place for key, place in places.items() if place is not None}


def _settings(zeo: Any) -> dict[str, Any]:
    values = {each.attribute: getattr(zeo, each.attribute) for each in server_settings()}
    if values["msgpack"] is None:
        values["msgpack"] = bool(os.environ.get("ZEO_MSGPACK"))
    return values


def parse_storages(text: str) -> tuple[StorageOpener, ...]:
    """Return the storages in `text`, which may contain only sections of storages.

    :raises ConfigurationError: it has any error.
    """
    loader = Loader("storages.xml", "storage configuration")
    return _named(loader, loader.load(text).storages)


def _named(loader: Loader, sections: list[Any]) -> tuple[StorageOpener, ...]:
    # ZConfig has refused sections of the same name already.
    names = {section.name for section in sections}
    openers = []
    unnamed = False
    for section in sections:
        if section.name is None:
            # By convention, an object that opens a storage has its section as `config`.
            position = getattr(section, "config", None)
            if unnamed:
                raise loader.section_error(
                    position,
                    "a second storage without a name",
                    "give it one, as in <filestorage 2>",
                )
            if DEFAULT_NAME in names:
                raise loader.section_error(
                    position,
                    "a storage without a name is named 1, as another one is already",
                    "give it another name, as in <filestorage 2>",
                )
            unnamed = True
        kind = own_reactor(section)
        if kind is not None:
            raise loader.section_error(
                getattr(section, "config", None),
                f"<{kind}> runs Twisted's reactor itself, and so does this daemon",
                f"serve the storage within <{kind}> here, or leave <{kind}> to ZEO's runzeo",
            )
        openers.append(StorageOpener(section.name or DEFAULT_NAME, section))
    return tuple(openers)


def storage_section(path: StoragePath | None, blob_dir: StoragePath | None = None) -> str:
    """Return the section of a FileStorage at `path`, or of a storage in memory if `path` is None.

    :raises ConfigurationError: a path cannot be written in a configuration.
    """
    if path is not None:
        lines = [f"path {_quoted(path)}"]
        if blob_dir is not None:
            lines.append(f"blob-dir {_quoted(blob_dir)}")
        return _section("filestorage", lines)
    memory = _section("mappingstorage", [])
    if blob_dir is None:
        return memory
    return _section("blobstorage", [f"blob-dir {_quoted(blob_dir)}", *memory.splitlines()])


def _section(type_: str, lines: list[str]) -> str:
    return "".join([f"<{type_}>\n", *(f"  {line}\n" for line in lines), f"</{type_}>\n"])


def _quoted(path: StoragePath) -> str:
    text = os.fspath(path)
    # ZConfig strips blanks from a value, and has no way to quote them or a line break.
    if not text or text != text.strip() or len(text.splitlines()) > 1 or "\0" in text:
        raise ConfigurationError(
            f"the path {text!r} cannot be used: it is empty, has a blank at an end, "
            "or a line break or null character within; rename the file or directory"
        )
    # Otherwise ZConfig replaces a leading tilde by a home directory.
    if text.startswith("~"):
        text = os.path.join(".", text)
    return text.replace("$", "$$")
