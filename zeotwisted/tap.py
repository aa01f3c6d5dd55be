"""``twistd zeo`` and ``twist zeo``: the options, and the service."""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.python import usage

from .access import Access
from .config import (
    ConfigurationError,
    Setting,
    StorageOpener,
    access_from_lines,
    is_encrypted,
    parse_storages,
    read_server_config,
    server_settings,
    storage_section,
)
from .daemon import (
    UNACCEPTED,
    Daemon,
    Place,
    Terminal,
    check_pid_file,
    configured_daemon,
    end_with_failure,
    endpoint_files,
    goes_to_background,
    take_over_log,
    unwritable_file,
)
from .logs import FileLog, show_in_twisted_log, writes_to_terminal
from .reactor import handle_signals, stop_with_success
from .storageserver import ServerOptions
from .transport import NoSuchSocket, passed_endpoint, unix_endpoint
from .version import __version__

__all__ = ["Options", "makeService"]

_DEFAULT_LISTEN = "tcp:8100:interface=127.0.0.1"


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
        return os.path.abspath(value) if isinstance(value, str) else value

    letter = _LETTERS.get(setting.key)
    return [setting.key, letter, setting.default, setting.summary, coerce]


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
        ["conf", "C", None, "Read a zeo.conf; no other option is allowed with it"],
        *(_parameter(setting) for setting in server_settings() if not setting.is_flag),
    ]

    optFlags = [
        [setting.key, _LETTERS.get(setting.key), setting.summary]
        for setting in server_settings()
        if setting.is_flag
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["storages"] = []
        self["allow"] = []
        #: Twisted's log, if this process writes it with a `FileLog`; otherwise None.
        self.log: FileLog | None = None

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
        self._check()
        check_pid_file(self.parent)
        eventlog = self["config"].eventlog if "config" in self else None
        quiet = eventlog is not None and writes_to_terminal(eventlog)
        self.log = take_over_log(self.parent, quiet)

    def _check(self) -> None:
        if self["conf"] is None:
            if self["file"] is not None and any(name == "1" for name, _ in self["storages"]):
                raise usage.UsageError("--file is storage 1; give the other one another name")
            if self["blob-dir"] is not None and self["file"] is None and self["storages"]:
                raise usage.UsageError("--blob-dir belongs to --file")
            return
        others = [name for name in self if name != "conf" and self[name] != self._defaults()[name]]
        if others:
            raise usage.UsageError(
                f"--conf: --{others[0]} cannot be given with it; write it into {self['conf']}"
            )
        try:
            self["config"] = read_server_config(self["conf"])
        except ConfigurationError as error:
            raise SystemExit(f"zeo: {error}")

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

    def _defaults(self) -> dict[str, Any]:
        return dict(Options().items())


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


def _settings(options: Options) -> dict[str, Any]:
    values = {}
    for setting in server_settings():
        value = options[setting.key]
        values[setting.attribute] = bool(value) if setting.is_flag else value
    return values


def _certificates(places: list[str]) -> list[str]:
    return [files["certKey"] for files in map(endpoint_files, places) if files]


def _endpoint(reactor: Any, text: str) -> IStreamServerEndpoint:
    key = endpoint_files(text).get("privateKey")
    if key is not None and os.path.isfile(key) and is_encrypted(key):
        # Twisted would ask for the key's password at the terminal.
        raise SystemExit(
            f"zeo: --listen {text}: {key} is encrypted; decrypt it, or use --conf with an <ssl> "
            "section that has a password-function"
        )
    try:
        return (
            unix_endpoint(reactor, text, UNACCEPTED)
            or passed_endpoint(reactor, text)
            or serverFromString(reactor, text)
        )
    except NoSuchSocket as error:
        raise SystemExit(f"zeo: --listen {text}: {error}")
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    except TypeError:
        # The text of the exception is about functions of Twisted, which a user does not know.
        reason = "an argument is missing, or is one too many"
    except Exception as error:
        reason = str(error)
    raise SystemExit(
        f"zeo: --listen {text}: {reason}; write a Twisted endpoint, for example "
        "tcp:8100:interface=127.0.0.1 or unix:/run/zeo.sock"
    )


def makeService(options: Options) -> IService:
    """Return the daemon for `options`."""
    from twisted.internet import reactor

    if "config" in options:
        daemon = configured_daemon(reactor, options["config"])
    else:
        places = options["listen"] or [_DEFAULT_LISTEN]
        daemon = Daemon(
            reactor,
            _storages(options),
            ServerOptions(**_settings(options)),
            [Place(text, _endpoint(reactor, text)) for text in places],
            certificates=_certificates(places),
            access=options.access(),
        )
    show_in_twisted_log()
    if options.log is not None:
        daemon.logs.append(options.log)
    for log in daemon.logs:
        reactor.addSystemEventTrigger("after", "shutdown", log.close)
    handle_signals(reactor, [log.reopen for log in daemon.logs])
    stop_with_success(reactor, daemon.hurry)
    reactor.addSystemEventTrigger(
        "after", "shutdown", lambda: end_with_failure() if daemon.has_failed else None
    )
    if goes_to_background(options.parent):
        daemon.terminal = Terminal()
    return daemon
