"""Finds the function for a request, and answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from .answers import Answer, give, plain
from .visitors import Refused

__all__ = ["Door", "Route"]

#: Returns the answer; None if the function answers by itself.
Route: TypeAlias = "Callable[[Any], Awaitable[Answer | None]]"

#: The methods that mean the same as another one here.
_SAME = {b"HEAD": b"GET"}


class Door(Resource):
    """All paths.

    :param routes: the functions, by path and method.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, routes: Mapping[bytes, Mapping[bytes, Route]]) -> None:
        super().__init__()
        self._routes = routes

    def render(self, request: Any) -> int:
        """See `twisted.web.resource.IResource`."""
        request.transport.answering()
        is_over: list[bool] = []
        request.notifyFinish().addBoth(lambda _: is_over.append(True))
        done = Deferred.fromCoroutine(self._answered(request))
        done.addErrback(self._explained)
        done.addCallback(lambda answer: self._give(request, answer, bool(is_over)))
        done.addErrback(lambda failure: self._log.failure("http: a request failed", failure))
        return NOT_DONE_YET

    async def _answered(self, request: Any) -> Answer | None:
        routes = self._routes.get(request.path)
        if routes is None:
            return plain(404, "there is no such page")
        route = routes.get(_SAME.get(request.method, request.method))
        if route is None:
            allowed = ", ".join(sorted(method.decode() for method in routes))
            return plain(405, f"use {allowed}", ("Allow", allowed))
        return await route(request)

    def _explained(self, failure: Failure) -> Answer:
        error = failure.value
        if isinstance(error, Refused):
            ask = ("WWW-Authenticate", 'Basic realm="zeotwisted", charset="UTF-8"')
            return plain(error.status, str(error), *([ask] if error.asks else []))
        self._log.failure("http: a request failed", failure)
        return plain(500, "the daemon has failed to answer; its log says why")

    def _give(self, request: Any, answer: Answer | None, is_over: bool) -> None:
        if answer is not None and not is_over:
            give(request, answer)
