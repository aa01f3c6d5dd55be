"""What each path answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zeotwisted.storageserver import StorageServer

from .answers import Answer, plain
from .door import Route
from .metrics import chosen_format, exposition
from .readiness import reasons_against
from .visitors import Visitor, Visitors

__all__ = ["Routes"]

#: How long (seconds) an answer of ``/metrics`` is given to others who ask for the same.
_FRESH = 1.0

#: How many different ones are kept.
_MOST = 10


class Routes:
    """The functions for programs: health and metrics.

    :param seconds: returns the time in seconds.
    """

    def __init__(
        self, server: StorageServer, visitors: Visitors, version: str, seconds: Callable[[], float]
    ) -> None:
        self._server = server
        self._visitors = visitors
        self._version = version
        self._seconds = seconds
        self._metrics: dict[tuple[frozenset[str], str], tuple[float, Answer]] = {}

    def table(self) -> Mapping[bytes, Mapping[bytes, Route]]:
        """Return the functions by path and method."""
        return {
            b"/live": {b"GET": self.live},
            b"/ready": {b"GET": self.ready},
            b"/metrics": {b"GET": self.metrics},
        }

    async def live(self, request: Any) -> Answer:
        """Answer that the reactor runs."""
        return plain(200, "live")

    async def ready(self, request: Any) -> Answer:
        """Answer whether clients can be served, and why not."""
        reasons = reasons_against(self._server)
        return plain(503, "\n".join(reasons)) if reasons else plain(200, "ready")

    async def metrics(self, request: Any) -> Answer:
        """Answer with the figures, for Prometheus."""
        self._visitors.check_host(request)
        visitor = await self._visitors.of(request, list(self._server.served))
        headers = request.requestHeaders.getRawHeaders(b"accept", [])
        accept = chosen_format(b",".join(headers).decode("latin-1"))
        return self._exposition(visitor, accept)

    def _exposition(self, visitor: Visitor, accept: str) -> Answer:
        key = visitor.seen, accept
        now = self._seconds()
        made, answer = self._metrics.get(key, (float("-inf"), None))
        if answer is None or now - made >= _FRESH:
            report = self._server.report()
            body, content_type = exposition(report, visitor.seen, self._version, accept)
            answer = Answer(200, body, content_type)
            self._metrics.pop(key, None)
            self._metrics[key] = now, answer
            if len(self._metrics) > _MOST:
                del self._metrics[next(iter(self._metrics))]
        return answer
