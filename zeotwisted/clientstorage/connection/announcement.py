"""Logs that a client waits for a server when it is opened.

A program that waits for its database for half a minute looks as if it hangs. After a second, one
log line says what it waits for, why, and for how long. A second line says how the wait ended.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

__all__ = ["announce"]

_log = logging.getLogger("zeotwisted.client")

#: How long (seconds) to wait before the first line.
_SILENT = 1.0


class Awaited(Protocol):
    """The methods of `ClientConnection` that are used here."""

    def when_ready(self, timeout: float, fail_fast: bool = False) -> Deferred[Any]: ...

    def where(self) -> str: ...

    def explanation(self) -> str: ...


def announce(awaited: Awaited, clock: IReactorTime, name: str, timeout: float) -> None:
    """Log it if the client `name` waits for more than a second. Call it in the reactor's thread.

    The lines are warnings: Python shows these on stderr unless the application configures logging.

    :param timeout: how long (seconds) the client waits at most.
    """
    since = clock.seconds()

    def say() -> None:
        _log.warning(
            "%s: waiting for a server at %s, for up to %g seconds: %s",
            name,
            awaited.where(),
            timeout,
            awaited.explanation(),
        )

    silence = clock.callLater(_SILENT, say)

    def say_how_it_ended(what: str) -> None:
        if silence.active():
            silence.cancel()
        else:
            _log.warning("%s: %s", name, what)

    def came(_: object) -> None:
        say_how_it_ended(f"the server is there, after {clock.seconds() - since:.1f} seconds")

    def came_not(_: object) -> None:
        say_how_it_ended(
            f"gave up waiting after {clock.seconds() - since:.1f} seconds: {awaited.explanation()}"
        )

    awaited.when_ready(timeout, fail_fast=True).addCallbacks(came, came_not)
