"""``twistd zeo`` and ``twist zeo``: options, and the service that they describe."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService
from twisted.internet.endpoints import serverFromString
from twisted.python import usage

from .config.server import (
    ConfigurationError,
    StorageOpener,
    parse_storages,
    read_server_config,
    storage_section,
)
from .daemon import Daemon, bridge_logging, endpoint, server_options
from .server.options import ServerOptions

__all__ = ["Options", "makeService"]

_DEFAULT_LISTEN = "tcp:8100:interface=127.0.0.1"


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise ValueError("a number greater than 0 is needed")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError("a number of at least 1 is needed")
    return value


def _version(text: str) -> int:
    if text not in ("5", "6"):
        raise ValueError("it is 5 or 6")
    return int(text)


class Options(usage.Options):
    """Serve ZODB storages to zeotwisted and ZEO clients.

    Without options: Data.fs and blobs in the current folder, at port 8100 of this machine only.
    """

    longdesc = __doc__
    synopsis = "[options]"

    optParameters = [
        ["file", "f", None, "Serve this FileStorage, as storage 1 [default: Data.fs]"],
        ["blob-dir", "b", None, "Its blob directory [default: blobs, if --file is not given]"],
        ["conf", "C", None, "Read a zeo.conf; no other option is allowed with it"],
        [
            "invalidation-queue-size",
            None,
            100,
            "How many transactions to remember for clients that reconnect",
            _count,
        ],
        [
            "invalidation-age",
            None,
            None,
            "How many seconds a client may be away and still be told what changed",
            _positive,
        ],
        [
            "transaction-timeout",
            "t",
            None,
            "How many seconds a client may hold the commit lock",
            _positive,
        ],
        ["message-limit", None, 2**30, "The longest message from a client, in bytes", _count],
        ["protocol-limit", None, 6, "The highest protocol version to offer: 5 or 6", _version],
    ]

    optFlags = [
        ["read-only", "r", "Refuse clients that want to write"],
        ["client-conflict-resolution", None, "Let clients resolve conflicts"],
        ["msgpack", None, "Speak msgpack with ZEO's clients, too"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["storages"] = []

    def opt_listen(self, description: str) -> None:
        """Listen at this Twisted endpoint, such as tcp:8100:interface=127.0.0.1 (the default),
        tcp6:8100:interface=\\:\\:1, unix:/run/zeo.sock, systemd:domain=INET:index=0; repeatable."""
        self["listen"].append(description)

    opt_l = opt_listen

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
        """Check what one option says about another."""
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
            raise usage.UsageError(str(error))

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
        try:
            (opener,) = parse_storages(storage_section(path, blob_dir))
        except ConfigurationError as error:
            raise SystemExit(f"zeo: {error}")
        openers.append(StorageOpener(name, opener.section))
    return openers


def makeService(options: Options) -> IService:
    """Return the daemon that `options` describe."""
    from twisted.internet import reactor

    if "config" in options:
        config = options["config"]
        if config.eventlog is not None:
            config.eventlog()
        where = config.address
        description = where if isinstance(where, str) else "{}:{}".format(*where)
        daemon = Daemon(
            reactor,
            config.storages,
            server_options(config),
            [(description, endpoint(reactor, where))],
            config.pid_filename,
        )
    else:
        listen = []
        for text in options["listen"] or [_DEFAULT_LISTEN]:
            try:
                listen.append((text, serverFromString(reactor, text)))
            except (ValueError, TypeError, KeyError, IndexError) as error:
                raise SystemExit(f"zeo: --listen {text}: not an endpoint: {error}")
        daemon = Daemon(
            reactor,
            _storages(options),
            ServerOptions(
                read_only=bool(options["read-only"]),
                invalidation_queue_size=options["invalidation-queue-size"],
                invalidation_age=options["invalidation-age"],
                transaction_timeout=options["transaction-timeout"],
                client_conflict_resolution=bool(options["client-conflict-resolution"]),
                msgpack=bool(options["msgpack"]),
                protocol_limit=options["protocol-limit"],
                message_limit=options["message-limit"],
            ),
            listen,
        )
    bridge_logging()
    return daemon
