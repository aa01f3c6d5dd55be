"""The functions for people: the page with its files and events, and the form to disconnect."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.logger import Logger

from zeotwisted.storageserver import ConnectionReport, StorageServer

from .answers import Answer, plain
from .door import Route
from .page import FILES, confirmation, file, page
from .snapshot import Snapshot, Snapshots
from .stream import Stream
from .visitors import Refused, Visitor, Visitors

__all__ = ["Pages"]

_HTML = "text/html; charset=utf-8"

#: How many pages are kept for others who may see the same.
_MOST_DRAWN = 8


class Pages:
    """The functions for people."""

    _log = Logger()

    def __init__(
        self, server: StorageServer, visitors: Visitors, snapshots: Snapshots, stream: Stream
    ) -> None:
        self._server = server
        self._visitors = visitors
        self._snapshots = snapshots
        self._stream = stream
        # The last pages, and the snapshots that they were made of.
        self._drawn: deque[tuple[Snapshot, bytes]] = deque(maxlen=_MOST_DRAWN)

    def table(self) -> Mapping[bytes, Mapping[bytes, Route]]:
        """Return the functions by path and method."""
        loaded = {
            f"/{name}".encode(): {b"GET": partial(self.file, name, kind)}
            for name, kind in FILES.items()
        }
        return loaded | {
            b"/": {b"GET": self.page},
            b"/events": {b"GET": self.events},
            b"/disconnect": {b"GET": self.ask, b"POST": self.disconnect},
        }

    async def file(self, name: str, kind: str, request: Any) -> Answer:
        """Answer with a file of the package."""
        return Answer(200, file(name), kind)

    async def _visitor(self, request: Any) -> Visitor:
        self._visitors.check_host(request)
        return await self._visitors.of(request, list(self._server.served))

    async def page(self, request: Any) -> Answer:
        """Answer with the figures of the moment."""
        visitor = await self._visitor(request)
        return Answer(200, self._page(self._snapshots.of(visitor)), _HTML)

    def _page(self, snapshot: Snapshot) -> bytes:
        for drawn, body in self._drawn:
            if drawn is snapshot:
                return body
        body = page(snapshot)
        self._drawn.append((snapshot, body))
        return body

    async def events(self, request: Any) -> Answer | None:
        """Send the figures again and again."""
        visitor = await self._visitor(request)
        if request.method != b"GET":
            return plain(405, "use GET", ("Allow", "GET"))
        # It may have gone while its password was checked.
        if request.channel is not None:
            self._stream.watch(request, visitor)
        return None

    async def ask(self, request: Any) -> Answer:
        """Ask whether a client should be disconnected."""
        visitor = await self._visitor(request)
        report = self._connection(request, visitor)
        return Answer(200, confirmation(report, self._visitors.token(visitor)), _HTML)

    async def disconnect(self, request: Any) -> Answer:
        """Disconnect a client, and show the page again."""
        visitor = await self._visitor(request)
        self._visitors.check_form(request, visitor)
        report = self._connection(request, visitor)
        who = visitor.identity.label
        self._log.info(
            "http: {who} disconnects {label} at {address}",
            who=who,
            label=report.label or "a client",
            address=report.address,
        )
        self._server.disconnect(report.number, f"{who} has disconnected it over http")
        return Answer(303, b"", _HTML, (("Location", "./"),))

    def _connection(self, request: Any, visitor: Visitor) -> ConnectionReport:
        """Return the client that a request is about.

        :raises Refused: none is named, there is none, or the visitor may not disconnect it.
        """
        if not visitor.administered:
            raise Refused(403, f"{visitor.identity.label} does not have the role administer")
        text = request.args.get(b"client", [b""])[0]
        if not text.isdigit() or len(text) >= 20:
            raise Refused(
                400, "write the number of a client, /disconnect?client=NUMBER; / has links to these"
            )
        report = self._server.connection(int(text))
        if report is None:
            raise Refused(404, "this client is not connected any more")
        if not visitor.everything and report.storage_id not in visitor.administered:
            # Whether there is such a client is not for everybody either.
            raise Refused(404, "this client is not connected any more")
        return report
