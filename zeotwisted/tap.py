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
from .chosen import (
    check_and_print,
    chosen_http,
    chosen_log_form,
    chosen_places,
    chosen_settings,
    chosen_storages,
    shown,
)
from .config import (
    ConfigurationError,
    EffectiveSetting,
    Setting,
    access_from_lines,
    read_server_config,
    server_settings,
    variable,
)
from .daemon import (
    Daemon,
    Terminal,
    check_pid_file,
    configured_daemon,
    goes_to_background,
    take_over_log,
    unwritable_file,
)
from .logs import FileLog, LogStyle, show_in_twisted_log, writes_to_terminal
from .reactor import handle_signals, set_exit_code
from .storageserver import ServerOptions
from .version import __version__

__all__ = ["Options", "makeService"]

#: Options that an environment variable may give, if there is no configuration.
_FROM_ENVIRONMENT = ("file", "blob-dir", "accounts", "realm")

#: The letters of settings that have a short option.
_LETTERS = {"read-only": "r", "transaction-timeout": "t"}

#: The program's name in ``sys.argv`` if the command ``zeotwisted serve`` has started ``twistd``.
_SERVE = "zeotwisted serve"


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


def _is_served() -> bool:
    return sys.argv[0] == _SERVE


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
            "http",
            None,
            None,
            "Answer requests of browsers, Prometheus and health checks at this Twisted endpoint, "
            "or at a port of this machine, such as 8180",
        ],
        ["http-names", None, None, "Names of this server in the addresses that visitors use"],
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
            program = _SERVE if _is_served() else "twistd zeo"
            raise SystemExit(f"zeo: {error}; `{program} --help` lists the options")

    def getSynopsis(self) -> str:
        """Return the first line of the help: the command that was written."""
        synopsis = f"Usage: {_SERVE} [options]" if _is_served() else super().getSynopsis()
        return str(synopsis)

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
            from twisted.internet import reactor

            sys.exit(check_and_print(reactor, self))
        if self["conf"] is not None:
            try:
                self["config"] = read_server_config(self["conf"])
            except ConfigurationError as error:
                raise SystemExit(f"zeo: {error}")
        self.settings = chosen_settings(self, self.get("config"))
        form = chosen_log_form(self, self.get("config"))
        if self["show-config"]:
            print("\n".join(shown(self, form)))
            sys.exit(0)
        check_pid_file(self.parent)
        eventlog = self["config"].eventlog if "config" in self else None
        quiet = eventlog is not None and writes_to_terminal(eventlog)
        self.log = take_over_log(self.parent, quiet, LogStyle(form.json, form.levels))

    def _read_environment(self, environment: Mapping[str, str]) -> None:
        """Take options that are no settings from variables, where they are not given.

        A configuration has storages and roles of its own, so with one only ``ZEO_LISTEN`` and
        ``ZEO_HTTP`` and ``ZEO_HTTP_NAMES`` count.
        """
        if self["conf"] is None and not any(self[name] for name in ("file", "storages")):
            self["conf"] = environment.get("ZEO_CONF") or None
        if not self["listen"]:
            self["listen"] = environment.get("ZEO_LISTEN", "").split()
            self._from_environment.add("listen")
        names = _FROM_ENVIRONMENT if self["conf"] is None else ()
        for name in ("http", "http-names", *names):
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


def _values(settings: tuple[EffectiveSetting, ...]) -> dict[str, Any]:
    return {each.setting.attribute: each.value for each in settings}


def makeService(options: Options) -> IService:
    """Return the daemon for `options`."""
    from twisted.internet import reactor

    settings = _values(options.settings)
    places = chosen_places(reactor, options)
    http = chosen_http(reactor, options)
    if "config" in options:
        config = replace(options["config"], settings=settings)
        daemon = configured_daemon(reactor, config, places or None, http)
    else:
        daemon = Daemon(
            reactor,
            chosen_storages(options),
            ServerOptions(**settings),
            places,
            access=options.access(),
            http=http,
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
