"""What the options of ``twistd zeo`` choose, and the reports of it: settings, storages, places.

``--check-config`` and ``--show-config`` print such reports.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, Protocol

from .access import Access
from .config import (
    ROLES_BY_DEFAULT,
    ConfigurationError,
    EffectiveSetting,
    LogForm,
    ServerConfig,
    StorageOpener,
    described,
    effective_settings,
    host_names,
    log_form,
    parse_storages,
    storage_section,
)
from .daemon import (
    Place,
    check_file,
    endpoint_files,
    endpoint_place,
    exposed_http,
    file_mistakes,
    local_endpoint,
    place_mistakes,
    warnings,
)
from .http import missing_package

__all__ = [
    "Choice",
    "check_and_print",
    "chosen_http",
    "chosen_log_form",
    "chosen_places",
    "chosen_settings",
    "chosen_storages",
    "shown",
]

_DEFAULT_LISTEN = "tcp:8100:interface=127.0.0.1"


class Choice(Protocol):
    """The options, as `zeotwisted.tap.Options` reads them."""

    given: Mapping[str, Any]
    settings: tuple[EffectiveSetting, ...]

    def __getitem__(self, name: str) -> Any:
        """Return the value of an option."""

    def get(self, name: str) -> Any:
        """Return the same, or None if it is not set."""

    def source(self, name: str) -> str:
        """Return where the value of an option that is no setting comes from, as a text."""

    def access(self) -> Access | None:
        """Return the roles of clients."""


def chosen_storages(options: Choice) -> list[StorageOpener]:
    """Return the storages that options name, or the default one.

    :raises SystemExit: a folder does not exist, or there is another mistake.
    """
    files = []
    if options["file"] is not None:
        files.append(("1", options["file"], options["blob-dir"]))
    elif not options["storages"]:
        files.append(("1", "Data.fs", options["blob-dir"] or "blobs"))
    files += [(name, path, None) for name, path in options["storages"]]
    openers = []
    for name, path, blob_dir in files:
        folder = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(folder):
            raise SystemExit(
                f"zeo: {path}: the folder {folder} does not exist; create it, or choose another one"
            )
        try:
            (opener,) = parse_storages(storage_section(path, blob_dir))
        except ConfigurationError as error:
            raise SystemExit(f"zeo: storage {name}: {error}")
        openers.append(StorageOpener(name, opener.section))
    return openers


def chosen_settings(options: Choice, config: ServerConfig | None) -> tuple[EffectiveSetting, ...]:
    """Return all settings: of options, the environment, a configuration, or defaults.

    :raises SystemExit: the value of one is wrong.
    """
    try:
        return effective_settings(options.given, os.environ, config)
    except ValueError as error:
        raise SystemExit(f"zeo: {error}")


def chosen_log_form(options: Choice, config: ServerConfig | None) -> LogForm:
    """Return the form of the log, which has the same sources.

    :raises SystemExit: a value is wrong.
    """
    try:
        return log_form(bool(options["log-json"]), options["log-level"], os.environ, config)
    except ValueError as error:
        raise SystemExit(f"zeo: {error}")


def shown(options: Choice, form: LogForm) -> list[str]:
    """Return the lines of ``--show-config``."""
    config: ServerConfig | None = options.get("config")
    lines = [each.line for each in options.settings] + form.lines
    if options["listen"]:
        lines += [f"listen {text}  # {options.source('listen')}" for text in options["listen"]]
    elif config is None:
        lines.append(f"listen {_DEFAULT_LISTEN}  # default")
    else:
        for each in config.listeners:
            lines.append(f"listen {each.description}  # {options['conf']}")
    if options["http"]:
        lines.append(f"http {options['http']}  # {options.source('http')}")
    elif config is not None and config.http is not None:
        lines.append(f"http {config.http.listener.description}  # {options['conf']}")
    if config is not None:
        for standby in config.standbys:
            primary = ", ".join(map(described, standby.primary))
            lines.append(f"standby {standby.storage_id} of {primary}  # {options['conf']}")
    source = "options and defaults" if config is None else options["conf"]
    storages = chosen_storages(options) if config is None else config.storages
    lines += [f"storage {each.name}  # {source}" for each in storages]
    return lines + (_given_roles(options) if config is None else list(config.roles))


def _given_roles(options: Choice) -> list[str]:
    """Return the roles that options give, as lines of ``--show-config``."""
    # This checks the options.
    options.access()
    lines = [
        f"{name} {options[name]}  # {options.source(name)}"
        for name in ("accounts", "realm")
        if options[name] is not None
    ]
    return lines + (
        [f"allow {line}  # option --allow" for line in options["allow"]] or [ROLES_BY_DEFAULT]
    )


def check_and_print(reactor: Any, options: Choice) -> int:
    """Check everything, and print what is found; return the exit code."""
    config: ServerConfig | None = None
    mistakes: list[str] = []
    notes: list[str] = []
    if options["conf"] is not None:
        config, mistakes, notes = check_file(reactor, options["conf"])
    try:
        chosen_settings(options, config)
        chosen_log_form(options, config)
        places = chosen_places(reactor, options)
        http = chosen_http(reactor, options)
        mistakes += place_mistakes(places)
        if http is not None:
            mistakes += place_mistakes([http[0]], "--http")
        if config is None and options["conf"] is None:
            mistakes += file_mistakes(chosen_storages(options))
            notes = warnings(places, options.access(), _certificates(options))
        elif config is not None and options["listen"]:
            notes = warnings(places, config.access, _certificates(options))
        if http is not None:
            access = options.access() if config is None else config.access
            notes += filter(None, [exposed_http(http[0], access)])
        if http is not None or (config is not None and config.http is not None):
            mistakes += [f"http: {missing}" for missing in filter(None, [missing_package()])]
    except SystemExit as error:
        mistakes.append(str(error).removeprefix("zeo: "))
    for note in notes:
        print(f"zeo: warning: {note}")
    for mistake in mistakes:
        print(f"zeo: {mistake}", file=sys.stderr)
    if not mistakes:
        print("zeo: the configuration can be used")
    return 1 if mistakes else 0


def _texts(options: Choice) -> list[str]:
    """Return the endpoints of options, or the default one if there is no configuration."""
    if options["listen"] or options["conf"] is not None:
        return list(options["listen"])
    return [_DEFAULT_LISTEN]


def chosen_places(reactor: Any, options: Choice) -> list[Place]:
    """Return where options say to listen, or the default place.

    :raises SystemExit: an endpoint has a mistake.
    """
    return [endpoint_place(reactor, text) for text in _texts(options)]


def chosen_http(reactor: Any, options: Choice) -> tuple[Place, frozenset[str]] | None:
    """Return where options say to answer requests of HTTP, and by which names; None: nowhere.

    :raises SystemExit: there is a mistake in it.
    """
    text = options["http"]
    if not text:
        if options["http-names"]:
            raise SystemExit("zeo: --http-names: add --http, which says where to listen")
        return None
    try:
        names = host_names(options["http-names"] or "")
    except ValueError as error:
        raise SystemExit(f"zeo: --http-names: {error}")
    return endpoint_place(reactor, local_endpoint(text), "--http"), names


def _certificates(options: Choice) -> list[str]:
    """Return the files of the certificates that endpoints name."""
    files = map(endpoint_files, [*_texts(options), options["http"] or ""])
    return [each["certKey"] for each in files if each]
