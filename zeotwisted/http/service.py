"""Listens for HTTP."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, NamedTuple

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from twisted.web.server import Site

from zeotwisted.access import OPEN, Access
from zeotwisted.storageserver import StorageServer

from .door import Door
from .guard import Guard
from .history import History
from .lines import Lines
from .pages import Pages
from .passwords import Passwords
from .snapshot import Snapshots
from .stream import Stream
from .visitors import Visitors

__all__ = ["HTTPPlace", "HTTPService", "missing_package"]


class HTTPPlace(NamedTuple):
    """A place where the daemon answers requests of HTTP."""

    #: The name of the place in messages.
    description: str
    endpoint: IStreamServerEndpoint
    #: The roles of visitors there; None for those of clients.
    access: Access | None = None
    #: The server's names in addresses, besides those that it knows by itself.
    names: frozenset[str] = frozenset()


def missing_package() -> str | None:
    """Return what is missing, and the remedy; None if nothing is."""
    if find_spec("prometheus_client") is None:
        return (
            "the package prometheus-client is not installed; pip install 'zeotwisted[http]', or "
            "leave out http"
        )
    return None


class HTTPService(Service):
    """Answers requests about a server. See `missing_package` before it is made.

    :param version: of this package, for visitors.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        server: StorageServer,
        place: HTTPPlace,
        access: Access | None,
        version: str,
    ) -> None:
        from .routes import Routes

        roles = place.access or access or OPEN
        passwords = None if roles.accounts is None else Passwords(roles.accounts, reactor)
        visitors = Visitors(roles, place.names, passwords)
        routes = Routes(server, visitors, version, reactor.seconds)
        self._history = History(server, reactor)
        self._lines = Lines()
        snapshots = Snapshots(server, self._history, self._lines, reactor.seconds, version)
        #: Those who watch the page.
        self.stream = Stream(snapshots, reactor)
        pages = Pages(server, visitors, snapshots, self.stream)
        site = Site(Door({**routes.table(), **pages.table()}), reactor=reactor)
        site.displayTracebacks = False
        self._place = place
        self._guard = Guard(site, reactor)
        self._port: Any = None

    def listen(self) -> Deferred[None]:
        """Listen; return a Deferred that fails if that is not possible."""
        listening: Deferred[Any] = maybeDeferred(self._place.endpoint.listen, self._guard)
        return listening.addCallback(self._listens)

    def _listens(self, port: Any) -> None:
        self._port = self._guard.port = port
        self._history.start()
        self._lines.start()
        self._log.info("http at {host}", host=port.getHost())

    def address(self) -> Any:
        """Return the address at which it listens, as Twisted's address object."""
        return self._port.getHost()

    def stopService(self) -> Any:
        """Stop listening, and end all connections."""
        super().stopService()
        port, self._port = self._port, None
        if port is None:
            return None
        self._history.stop()
        self._lines.stop()
        self.stream.close()
        self._guard.close()
        return maybeDeferred(port.stopListening)
