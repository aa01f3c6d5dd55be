"""The daemon: opens the storages of a configuration, and runs a server for them."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import zc.lockfile
from twisted.application.service import MultiService
from twisted.internet.endpoints import (
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
)
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import Logger
from twisted.python.failure import Failure
from ZODB.FileStorage.FileStorage import FileStorageFormatError
from zope.interface import implementer

from zeotwisted.access import Access
from zeotwisted.config import Listener, ServerConfig, StorageOpener, sections_within
from zeotwisted.logs import EventLog, FileLog
from zeotwisted.storageserver import (
    ListeningError,
    NotServable,
    ServerOptions,
    StorageServer,
    check_servable,
    raise_descriptors,
)
from zeotwisted.transport import UnixSocketEndpoint
from zeotwisted.version import __version__

from .exposure import Place, exposed
from .reactorwatch import ReactorTaken, ReactorWatch
from .renewal import Renewal
from .secured import RenewedEndpoint, SecuredEndpoint
from .supervisor import supervisor
from .terminal import Terminal

__all__ = ["UNACCEPTED", "Daemon", "StartError", "configured_daemon", "configured_places"]

#: How many connections may wait to be accepted; the system may have a lower limit. After a restart
#: all clients connect at once. A client over the limit tries again only a second later.
UNACCEPTED = 1024


class StartError(SystemExit, Exception):
    """The daemon cannot start; the text says why, in one line.

    It is an Exception because twistd's background process reports only those to the terminal. It is
    a SystemExit because Python then prints no traceback.
    """


def open_storages(openers: Sequence[StorageOpener], watch: ReactorWatch) -> dict[str, Any]:
    """Return the open storages by name.

    :param watch: watches the daemon's reactor.
    :raises StartError: a storage cannot be opened, or cannot be served. The storages that were
        opened before it are closed.
    """
    storages: dict[str, Any] = {}
    for opener in openers:
        part = _being_restored(opener)
        if part is not None:
            _close(storages)
            raise StartError(
                f"cannot open storage {opener.name!r}: it is being restored, as {part} exists; "
                "wait until repozo has ended, or remove that file if repozo does not run"
            )
        try:
            storages[opener.name] = watch.opened(opener.open)
            check_servable(storages)
        except NotServable as error:
            _close(storages)
            raise StartError(str(error)) from None
        except ReactorTaken:
            _close(storages)
            raise StartError(
                f"cannot serve storage {opener.name!r}: it runs Twisted's reactor in a thread of "
                "its own, and so does this daemon; leave it to ZEO's runzeo, or serve another kind"
            ) from None
        except Exception as error:
            _close(storages)
            config = getattr(opener.section, "config", None)
            path, packer = getattr(config, "path", None), getattr(config, "packer", None)
            raise StartError(
                f"cannot open storage {opener.name!r}: {_explain_opening(error, path, packer)}"
            ) from None
    return storages


def _being_restored(opener: StorageOpener) -> str | None:
    """Return the path of the file that ``repozo -R`` is writing, or None.

    It renames that file at the end, without regard to a daemon that has the old one open. What is
    committed there would be lost.
    """
    for kind, section in sections_within(opener.section):
        if kind == "FileStorage" and isinstance(section.path, str):
            part = os.path.abspath(f"{section.path}.part")
            if os.path.exists(part):
                return part
    return None


def _close(storages: Mapping[str, Any]) -> None:
    for storage in storages.values():
        storage.close()


#: What a FileStorage raises if the name of its packer is wrong.
_BAD_PACKER = (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError)


#: The file whose lock another process has, in the text of the error.
_LOCKED = re.compile(r"'([^']+?)(?:\.lock)?'$")


def _explain_opening(error: Exception, path: str | None, packer: str | None = None) -> str:
    if isinstance(error, zc.lockfile.LockError):
        # The file of a storage within another one is known only from the text.
        locked = _LOCKED.search(str(error))
        name = path or (locked[1] if locked else error)
        return (
            f"{name} is locked, since another process has it open; stop that process, or serve "
            "another file"
        )
    if isinstance(error, OSError) and error.filename is not None:
        return _explain_file(error)
    if isinstance(error, FileStorageFormatError):
        return f"{path or error} is not a file of a FileStorage; check the path"
    what = f"{type(error).__name__}: {error}".partition("\n")[0]
    if packer is not None and isinstance(error, _BAD_PACKER):
        return f"packer {packer} cannot be used ({what}); install its package, or correct the line"
    if isinstance(error, ImportError):
        return f"{what}; install the package that is missing, or correct the configuration"
    if path is None:
        return f"{what}; check its configuration"
    return f"{path} cannot be read ({what}); check the path, or restore the file from a backup"


def _explain_file(error: OSError) -> str:
    # An error of os.link, os.symlink or os.rename has two names. The second one is the new name,
    # which the configuration contains.
    name = os.path.abspath(os.fsdecode(error.filename2 or error.filename))
    folder = os.path.dirname(name)
    if isinstance(error, FileNotFoundError) and not os.path.isdir(folder):
        return f"the folder {folder} does not exist; create it, or choose another one"
    return f"{name}: {error.strerror}; check the path"


def _explain_listening(error: Exception) -> str:
    reason = error.socketError if isinstance(error, CannotListenError) else error
    number = getattr(reason, "errno", None)
    if number == errno.EADDRINUSE:
        return "it is in use; stop the process that has it, or choose another address"
    if number == errno.EADDRNOTAVAIL or isinstance(reason, socket.gaierror):
        return "this machine has no such address; choose one that it has"
    if number in (errno.EACCES, errno.EPERM):
        return f"{os.strerror(number)}; choose another address, or run zeo as another user"
    if isinstance(reason, OSError) and reason.filename is not None:
        return _explain_file(reason)
    return f"{reason}; choose another address"


@implementer(IStreamServerEndpoint)
class _Explaining:
    """An endpoint that fails with a `ListeningError` whose text names the remedy."""

    def __init__(self, place: IStreamServerEndpoint) -> None:
        self._place = place

    def listen(self, protocolFactory: Any) -> Any:
        return self._place.listen(protocolFactory).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        assert isinstance(failure.value, Exception)
        raise ListeningError(_explain_listening(failure.value))


def endpoint(reactor: Any, address: tuple[str, int] | str) -> IStreamServerEndpoint:
    """Return the endpoint for an address of zeo.conf: host and port, or a socket's path."""
    if isinstance(address, str):
        return UnixSocketEndpoint(reactor, address, UNACCEPTED, 0o600)
    host, port = address
    kind = TCP6ServerEndpoint if ":" in host else TCP4ServerEndpoint
    return kind(reactor, port, UNACCEPTED, interface=host)


class Daemon(MultiService):
    """The service that opens the storages and serves them.

    It opens them when it starts. twistd has forked by then, and the threads of an open storage
    would not survive the fork.

    :param openers: open the storages.
    :param listen: where to listen.
    :param pid_filename: the file for the process id, or None.
    :param access: the roles of clients; by default, every client may do everything.
    :ivar terminal: the terminal for the error of a failed start, if twistd runs in the background.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        openers: Sequence[StorageOpener],
        options: ServerOptions,
        listen: Sequence[Place],
        pid_filename: str | None = None,
        access: Access | None = None,
    ) -> None:
        super().__init__()
        self.terminal: Terminal | None = None
        self._reactor = reactor
        self._openers = openers
        self._options = options
        self._listen = listen
        self._pid_filename = pid_filename
        self._access = access
        renewed = [each.endpoint for each in listen if isinstance(each.endpoint, RenewedEndpoint)]
        self._renewal = Renewal(reactor, renewed)
        self._renewal.setServiceParent(self)
        #: The server; None until the daemon starts.
        self.server: StorageServer | None = None
        #: Sections of the configuration that mean nothing here, for the log.
        self.without_effect: Sequence[str] = ()
        #: The logs whose threads start with the daemon.
        self.logs: list[EventLog | FileLog] = []

    def privilegedStartService(self) -> None:
        """Open the storages and listen.

        :raises StartError: a storage cannot be opened, the server cannot listen at an address, or
            the pid file cannot be written.
        """
        try:
            self._open_and_listen()
        except StartError as error:
            if self.terminal is not None:
                self.terminal.say(str(error))
            raise
        finally:
            if self.terminal is not None:
                self.terminal.close()

    def _open_and_listen(self) -> None:
        for log in self.logs:
            log.start()
        self._log.info(
            "zeotwisted {version} starts, with Twisted {twisted} and ZODB {zodb}",
            version=__version__,
            twisted=version("Twisted"),
            zodb=version("ZODB"),
        )
        for section in self.without_effect:
            self._log.info("{section} is for other programs, and has no effect", section=section)
        self._renewal.warn()
        for warning in filter(None, (exposed(each, self._access) for each in self._listen)):
            self._log.warn("{warning}", warning=warning)
        self._raise_descriptors()
        storages = open_storages(self._openers, ReactorWatch(self._reactor))
        self.server = StorageServer(self._reactor, storages, self._options, self._access)
        # A supervisor can start it again, which opens the storages again.
        self.server.when_unusable = self._end
        for place in self._listen:
            self.server.listen(_Explaining(place.endpoint), place.description, place.access)
        self.server.setServiceParent(self)
        told = supervisor(self._reactor, self._state)
        if told is not None:
            told.setServiceParent(self)
        try:
            super().privilegedStartService()
            self._write_pid()
        except (ListeningError, StartError) as error:
            _close(storages)
            raise StartError(str(error)) from None

    def _raise_descriptors(self) -> None:
        if isinstance(self._reactor, SelectReactor):
            # It cannot use higher descriptors than the system's usual soft limit.
            return
        self._log.info(
            "the process may have {number} file descriptors; limits of connections follow from it",
            number=raise_descriptors(),
        )

    def _state(self) -> str:
        names = ", ".join(opener.name for opener in self._openers)
        return f"serving {names} at {', '.join(place.description for place in self._listen)}"

    def _write_pid(self) -> None:
        if self._pid_filename is None:
            return
        try:
            with open(self._pid_filename, "w") as file:
                file.write(f"{os.getpid()}\n")
        except OSError as error:
            raise StartError(
                f"cannot write {self._pid_filename}: {error.strerror}; correct pid-filename"
            ) from None

    def _remove_pid(self) -> None:
        if self._pid_filename is None:
            return
        with contextlib.suppress(OSError, ValueError), open(self._pid_filename) as file:
            # Another server may use the same file by mistake. Its id must stay.
            if int(file.read()) == os.getpid():
                os.remove(self._pid_filename)

    def startService(self) -> None:
        """Start; call `privilegedStartService` first if the application has not done so."""
        if self.server is None:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> Any:
        """Stop the server and close the storages. The logs stay open for the last lines."""
        self._remove_pid()
        return super().stopService()

    @property
    def has_failed(self) -> bool:
        """Whether the daemon has stopped and a storage could not be closed."""
        return self.server is not None and bool(self.server.failures)

    def _end(self) -> None:
        # ReactorNotRunning: it is about to stop already.
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()

    def hurry(self) -> None:
        """While the daemon stops: do not wait for transactions any more."""
        if self.server is not None:
            self.server.hurry()

    def renew_certificates(self) -> bool:
        """Read the certificates of <ssl> sections again; return False, as no log is reopened."""
        return self._renewal.renew()

    def release_logs(self) -> None:
        """Close the logs and their files, if the process continues without this daemon."""
        for log in self.logs:
            log.release()


def _place(reactor: Any, listener: Listener) -> Place:
    where = listener.address
    host = None if isinstance(where, str) else where[0]
    description = where if isinstance(where, str) else "{}:{}".format(*where)
    place = endpoint(reactor, where)
    if listener.ssl is None or listener.files is None:
        return Place(description, place, listener.access, host)
    place = SecuredEndpoint(reactor, place, description, listener.ssl, listener.files)
    return Place(description, place, listener.access, host, True)


def configured_places(reactor: Any, config: ServerConfig) -> list[Place]:
    """Return where a configuration's daemon listens."""
    return [_place(reactor, each) for each in config.listeners]


def configured_daemon(
    reactor: Any, config: ServerConfig, places: Sequence[Place] | None = None
) -> Daemon:
    """Return the daemon that a configuration describes, and set up its logging.

    :param places: where to listen instead of the configuration's listeners.
    :raises StartError: a log of the configuration cannot be opened.
    """
    daemon = Daemon(
        reactor,
        config.storages,
        ServerOptions(**config.settings),
        configured_places(reactor, config) if places is None else places,
        config.pid_filename,
        access=config.access,
    )
    daemon.without_effect = config.without_effect
    if config.eventlog is not None:
        try:
            daemon.logs.append(EventLog(config.eventlog))
        except (OSError, ValueError) as error:
            raise StartError(f"zeo: <eventlog>: {error}; correct that section") from None
    return daemon
