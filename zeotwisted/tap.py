"""``twistd zeo`` and ``twist zeo``: the options, and the service."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from .access import Access
from .config import (
    ROLES_BY_DEFAULT,
    ConfigurationError,
    EffectiveSetting,
    LogForm,
    ServerConfig,
    Setting,
    StorageOpener,
    access_from_lines,
    effective_settings,
    log_form,
    parse_storages,
    read_server_config,
    server_settings,
    storage_section,
    variable,
)
from .daemon import (
    Daemon,
    Place,
    Terminal,
    check_file,
    check_pid_file,
    configured_daemon,
    endpoint_files,
    endpoint_place,
    file_mistakes,
    goes_to_background,
    place_mistakes,
    take_over_log,
    unwritable_file,
    warnings,
)
from .logs import FileLog, LogStyle, show_in_twisted_log, writes_to_terminal
from .reactor import handle_signals, set_exit_code
from .storageserver import ServerOptions
from .version import __version__

__all__ = ["Options", "makeService"]

_DEFAULT_LISTEN = "tcp:8100:interface=127.0.0.1"


#: Options that an environment variable may give, if there is no configuration.
_FROM_ENVIRONMENT = ("file", "blob-dir", "accounts", "realm")

#: The letters of settings that have a short option.
_LETTERS = {"read-only": "r", "transaction-timeout": "t"}


def _parameter(setting: Setting) -> list[Any]:
    """Return the option for a setting, as an item of `usage.Options.optParameters`."""

    def coerce(text: str) -> Any:
        try:
            value = setting.convert(text)
        except ValueError as error:
            raise usage.UsageError(f"--{setting.key} {text}: {error}")
        # twistd changes the current folder later, so make the path absolute now.
        return _Given(os.path.abspath(value) if setting.is_path else value)

    letter = _LETTERS.get(setting.key)
    return [setting.key, letter, setting.default, setting.summary, coerce]


@dataclass(frozen=True)
class _Given:
    """The value of an option that was given, to tell it from a default."""

    value: Any


class Options(usage.Options):
    """Serve ZODB storages to zeotwisted and ZEO clients.

    Without options: Data.fs and blobs in the current folder, at port 8100 of this machine only.
    """

    longdesc = inspect.cleandoc(__doc__)
    synopsis = "[options]"

    optParameters = [
        ["file", "f", None, "Serve this FileStorage, as storage 1 [default: Data.fs]"],
        ["blob-dir", "b", None, "Its blob directory [default: blobs, if --file is not given]"],
        ["accounts", None, None, "Admit the users in this file, which zeotwisted user makes"],
        ["realm", None, None, "The name of the accounts, which clients may ask for"],
        [
            "log-level",
            None,
            None,
            "Log lines of this level; PART=LEVEL for parts [default: info]",
        ],
        ["conf", "C", None, "Read a zeo.conf; options for settings, and --listen, win over it"],
        *(_parameter(setting) for setting in server_settings() if not setting.is_flag),
    ]

    optFlags = (
        [
            ["log-json", None, "Write the log as lines of JSON"],
        ]
        + [
            [setting.key, _LETTERS.get(setting.key), setting.summary]
            for setting in server_settings()
            if setting.is_flag
        ]
        + [
            ["check-config", None, "Check everything, open nothing, and exit: 0 if it can be used"],
            ["show-config", None, "Print the settings and where each comes from, and exit"],
        ]
    )

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["storages"] = []
        self["allow"] = []
        # The options whose values were not given, but may come from the environment.
        self._from_environment: set[str] = set()
        #: Twisted's log, if this process writes it with a `FileLog`; otherwise None.
        self.log: FileLog | None = None
        #: The values of options for settings, by keys.
        self.given: Mapping[str, Any] = {}
        #: All settings, with those of the environment and of the configuration.
        self.settings: tuple[EffectiveSetting, ...] = ()

    def parseOptions(self, options: Any = None) -> None:
        """Parse the command line.

        :raises SystemExit: there is a mistake in it. For a UsageError, Twisted would print all
            options before the message.
        """
        problem = unwritable_file(self.parent)
        if problem is not None:
            raise SystemExit(f"zeo: {problem}")
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            raise SystemExit(f"zeo: {error}; `twistd zeo --help` lists the options")

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"zeotwisted {__version__}")
        sys.exit(0)

    def parseArgs(self, *args: str) -> None:
        """Refuse arguments that are not options."""
        if args:
            raise usage.UsageError(f"{args[0]}: there are no arguments but options")

    def opt_listen(self, description: str) -> None:
        """Listen at this Twisted endpoint, such as tcp:8100:interface=127.0.0.1 (the default),
        tcp6:8100:interface=\\:\\:1, unix:/run/zeo.sock, systemd:index=0; repeatable."""
        self["listen"].append(description)

    opt_l = opt_listen

    def opt_allow(self, line: str) -> None:
        """Let clients do something, as in 'write user:zope' or 'temp/read everybody', where temp is
        a storage; without this option, every client may do everything; repeatable."""
        self["allow"].append(line)

    def opt_storage(self, value: str) -> None:
        """Serve a FileStorage under a name: NAME=PATH; repeatable."""
        name, separator, path = value.partition("=")
        if not (name and separator and path):
            raise usage.UsageError(f"--storage {value}: write NAME=PATH, for example temp=Temp.fs")
        if any(name == other for other, _ in self["storages"]):
            raise usage.UsageError(f"--storage {value}: there are two storages named {name}")
        self["storages"].append((name, path))

    opt_s = opt_storage

    def postOptions(self) -> None:
        """Check combinations of options and the pid file, and take over Twisted's log."""
        self.given = self._given()
        self._read_environment(os.environ)
        self._check()
        if self["check-config"]:
            sys.exit(_check_and_print(self))
        if self["conf"] is not None:
            try:
                self["config"] = read_server_config(self["conf"])
            except ConfigurationError as error:
                raise SystemExit(f"zeo: {error}")
        self.settings = _effective(self, self.get("config"))
        form = _log_form(self, self.get("config"))
        if self["show-config"]:
            print("\n".join(_shown(self, form)))
            sys.exit(0)
        check_pid_file(self.parent)
        eventlog = self["config"].eventlog if "config" in self else None
        quiet = eventlog is not None and writes_to_terminal(eventlog)
        self.log = take_over_log(self.parent, quiet, LogStyle(form.json, form.levels))

    def _read_environment(self, environment: Mapping[str, str]) -> None:
        """Take options that are no settings from variables, where they are not given.

        A configuration has storages and roles of its own, so with one only ``ZEO_LISTEN`` counts.
        """
        if self["conf"] is None and not any(self[name] for name in ("file", "storages")):
            self["conf"] = environment.get("ZEO_CONF") or None
        if not self["listen"]:
            self["listen"] = environment.get("ZEO_LISTEN", "").split()
            self._from_environment.add("listen")
        if self["conf"] is None:
            for name in _FROM_ENVIRONMENT:
                if self[name] is None:
                    self[name] = environment.get(variable(name)) or None
                    self._from_environment.add(name)

    def source(self, name: str) -> str:
        """Return where the value of an option that is no setting comes from, as a text."""
        if name in self._from_environment:
            return f"environment variable {variable(name)}"
        return f"option --{name}"

    def _given(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for setting in server_settings():
            value = self[setting.key]
            if isinstance(value, _Given):
                self[setting.key] = given[setting.key] = value.value
            elif setting.is_flag and value:
                given[setting.key] = True
        return given

    def _check(self) -> None:
        if self["conf"] is None:
            if self["file"] is not None and any(name == "1" for name, _ in self["storages"]):
                raise usage.UsageError("--file is storage 1; give the other one another name")
            if self["blob-dir"] is not None and self["file"] is None and self["storages"]:
                raise usage.UsageError("--blob-dir belongs to --file")
            return
        # The storages and the roles belong together, and so they are all in the file.
        for name in ("file", "blob-dir", "storages", "allow", "accounts", "realm"):
            if self[name]:
                option = "storage" if name == "storages" else name
                raise usage.UsageError(
                    f"--conf: --{option} cannot be given with it; write it into {self['conf']}"
                )

    def access(self) -> Access | None:
        """Return the roles of clients; None if every client may do everything.

        :raises SystemExit: a mistake in the options for them.
        """
        names = {name for name, _ in self["storages"]}
        if self["file"] is not None or not names:
            names.add("1")
        try:
            return access_from_lines(self["allow"], self["accounts"], self["realm"], names)
        except ValueError as error:
            raise SystemExit(f"zeo: {error}")


def _storages(options: Options) -> list[StorageOpener]:
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


def _effective(options: Options, config: ServerConfig | None) -> tuple[EffectiveSetting, ...]:
    try:
        return effective_settings(options.given, os.environ, config)
    except ValueError as error:
        raise SystemExit(f"zeo: {error}")


def _log_form(options: Options, config: ServerConfig | None) -> LogForm:
    try:
        return log_form(bool(options["log-json"]), options["log-level"], os.environ, config)
    except ValueError as error:
        raise SystemExit(f"zeo: {error}")


def _values(settings: tuple[EffectiveSetting, ...]) -> dict[str, Any]:
    return {each.setting.attribute: each.value for each in settings}


def _shown(options: Options, form: LogForm) -> list[str]:
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
    source = "options and defaults" if config is None else options["conf"]
    storages = _storages(options) if config is None else config.storages
    lines += [f"storage {each.name}  # {source}" for each in storages]
    return lines + (_given_roles(options) if config is None else list(config.roles))


def _given_roles(options: Options) -> list[str]:
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


def _check_and_print(options: Options) -> int:
    """Check everything, and print what is found; return the exit code."""
    from twisted.internet import reactor

    config: ServerConfig | None = None
    mistakes: list[str] = []
    notes: list[str] = []
    if options["conf"] is not None:
        config, mistakes, notes = check_file(reactor, options["conf"])
    try:
        _effective(options, config)
        _log_form(options, config)
        places = _places(reactor, options)
        mistakes += place_mistakes(places)
        if config is None and options["conf"] is None:
            mistakes += file_mistakes(_storages(options))
            notes = warnings(places, options.access(), _certificates(_texts(options)))
        elif config is not None and options["listen"]:
            notes = warnings(places, config.access, _certificates(_texts(options)))
    except SystemExit as error:
        mistakes.append(str(error).removeprefix("zeo: "))
    for note in notes:
        print(f"zeo: warning: {note}")
    for mistake in mistakes:
        print(f"zeo: {mistake}", file=sys.stderr)
    if not mistakes:
        print("zeo: the configuration can be used")
    return 1 if mistakes else 0


def _texts(options: Options) -> list[str]:
    """Return the endpoints of options, or the default one if there is no configuration."""
    if options["listen"] or options["conf"] is not None:
        return list(options["listen"])
    return [_DEFAULT_LISTEN]


def _places(reactor: Any, options: Options) -> list[Place]:
    return [endpoint_place(reactor, text) for text in _texts(options)]


def _certificates(places: list[str]) -> list[str]:
    return [files["certKey"] for files in map(endpoint_files, places) if files]


def makeService(options: Options) -> IService:
    """Return the daemon for `options`."""
    from twisted.internet import reactor

    settings = _values(options.settings)
    places = _places(reactor, options)
    if "config" in options:
        config = replace(options["config"], settings=settings)
        daemon = configured_daemon(reactor, config, places or None)
    else:
        daemon = Daemon(
            reactor,
            _storages(options),
            ServerOptions(**settings),
            places,
            access=options.access(),
        )
    show_in_twisted_log()
    if options.log is not None:
        daemon.logs.append(options.log)
    for log in daemon.logs:
        reactor.addSystemEventTrigger("after", "shutdown", log.close)
    handle_signals(reactor, [*(log.reopen for log in daemon.logs), daemon.renew_certificates])
    set_exit_code(reactor, daemon.hurry, daemon.has_failed)
    if goes_to_background(options.parent):
        daemon.terminal = Terminal()
    return daemon
