"""The daemon: opens the storages of a configuration, and runs a server for them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.selectreactor import SelectReactor
from twisted.logger import Logger

from zeotwisted.access import Access
from zeotwisted.config import (
    HTTPListener,
    Listener,
    ServerConfig,
    StandbySettings,
    StorageOpener,
)
from zeotwisted.http import HTTPPlace, HTTPService, missing_package
from zeotwisted.logs import EventLog, FileLog
from zeotwisted.standby import Standby
from zeotwisted.storageserver import (
    ListeningError,
    NotServable,
    ServerOptions,
    StorageServer,
    raise_descriptors,
)
from zeotwisted.version import __version__

from .exposure import Place, exposed, exposed_http
from .listening import Explaining, endpoint
from .opening import StartError, close_storages, open_storages
from .reactorwatch import ReactorWatch
from .renewal import Renewal
from .secured import RenewedEndpoint, SecuredEndpoint
from .supervisor import supervisor
from .terminal import Terminal

__all__ = ["Daemon", "configured_daemon", "configured_http", "configured_places"]


class Daemon(MultiService):
    """The service that opens the storages and serves them.

    It opens them when it starts. twistd has forked by then, and the threads of an open storage
    would not survive the fork.

    :param openers: open the storages.
    :param listen: where to listen.
    :param pid_filename: the file for the process id, or None.
    :param access: the roles of clients; by default, every client may do everything.
    :param http: where to answer requests of HTTP, and by which names; None: nowhere.
    :param standbys: the storages that follow those of other servers.
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
        http: tuple[Place, frozenset[str]] | None = None,
        standbys: Sequence[StandbySettings] = (),
    ) -> None:
        super().__init__()
        self.terminal: Terminal | None = None
        self._reactor = reactor
        self._openers = openers
        self._options = options
        self._listen = listen
        self._pid_filename = pid_filename
        self._access = access
        self._http = http
        self._standbys = standbys
        places = [*listen, *(http[:1] if http else ())]
        renewed = [each.endpoint for each in places if isinstance(each.endpoint, RenewedEndpoint)]
        self._renewal = Renewal(reactor, renewed)
        self._renewal.setServiceParent(self)
        #: The server; None until the daemon starts.
        self.server: StorageServer | None = None
        #: What answers requests of HTTP; None if nothing does.
        self.http: HTTPService | None = None
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
        warnings = [exposed(each, self._access) for each in self._listen]
        if self._http is not None:
            missing = missing_package()
            if missing is not None:
                raise StartError(f"zeo: http: {missing}")
            warnings.append(exposed_http(self._http[0], self._access))
        for warning in filter(None, warnings):
            self._log.warn("{warning}", warning=warning)
        self._raise_descriptors()
        storages = open_storages(self._openers, ReactorWatch(self._reactor))
        self.server = StorageServer(self._reactor, storages, self._options, self._access)
        # A supervisor can start it again, which opens the storages again.
        self.server.when_unusable = self._end
        for place in self._listen:
            self.server.listen(Explaining(place.endpoint), place.description, place.access)
        self.server.setServiceParent(self)
        told = supervisor(self._reactor, self._state)
        if told is not None:
            told.setServiceParent(self)
        try:
            super().privilegedStartService()
            self._make_standbys()
            self._listen_for_http()
            self._write_pid()
        except (ListeningError, NotServable, StartError) as error:
            close_storages(storages)
            raise StartError(str(error)) from None

    def _make_standbys(self) -> None:
        """Make the standbys before a client can register, so that none writes their storages."""
        assert self.server is not None
        for settings in self._standbys:
            served = self.server.served[settings.storage_id]
            try:
                Standby(self._reactor, served, settings).setServiceParent(self)
            except ValueError as error:
                raise StartError(f"zeo: standby {settings.storage_id}: {error}") from None

    def _listen_for_http(self) -> None:
        if self._http is None or self.server is None:
            return
        place, names = self._http
        self.http = HTTPService(
            self._reactor,
            self.server,
            HTTPPlace(place.description, Explaining(place.endpoint), place.access, names),
            self._access,
            __version__,
        )
        failures: list[Any] = []
        self.http.listen().addErrback(failures.append)
        for failure in failures:
            raise StartError(f"zeo: cannot listen at {place.description}: {failure.value}")

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
        return maybeDeferred(super().stopService).addBoth(self._stop_http)

    def _stop_http(self, result: Any) -> Any:
        # Last: until then it says that the daemon is not ready.
        if self.http is None:
            return result
        stopping: Deferred[Any] = maybeDeferred(self.http.stopService)
        return stopping.addCallback(lambda _: result)

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
    description, host = listener.description, listener.host
    place = endpoint(reactor, listener.address)
    if listener.ssl is None or listener.files is None:
        return Place(description, place, listener.access, host)
    place = SecuredEndpoint(reactor, place, description, listener.ssl, listener.files)
    return Place(description, place, listener.access, host, True)


def configured_places(reactor: Any, config: ServerConfig) -> list[Place]:
    """Return where a configuration's daemon listens."""
    return [_place(reactor, each) for each in config.listeners]


def configured_http(
    reactor: Any, listener: HTTPListener | None
) -> tuple[Place, frozenset[str]] | None:
    """Return where a configuration's daemon answers requests of HTTP, and by which names."""
    return None if listener is None else (_place(reactor, listener.listener), listener.names)


def configured_daemon(
    reactor: Any,
    config: ServerConfig,
    places: Sequence[Place] | None = None,
    http: tuple[Place, frozenset[str]] | None = None,
) -> Daemon:
    """Return the daemon that a configuration describes, and set up its logging.

    :param places: where to listen instead of the configuration's listeners.
    :param http: where to answer requests of HTTP instead of what the configuration says.
    :raises StartError: a log of the configuration cannot be opened.
    """
    daemon = Daemon(
        reactor,
        config.storages,
        ServerOptions(**config.settings),
        configured_places(reactor, config) if places is None else places,
        config.pid_filename,
        access=config.access,
        http=http or configured_http(reactor, config.http),
        standbys=config.standbys,
    )
    daemon.without_effect = config.without_effect
    if config.eventlog is not None:
        try:
            daemon.logs.append(EventLog(config.eventlog))
        except (OSError, ValueError) as error:
            raise StartError(f"zeo: <eventlog>: {error}; correct that section") from None
    return daemon
