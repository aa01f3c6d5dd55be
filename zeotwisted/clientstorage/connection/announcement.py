"""Say in the log what a client waits for when it is opened and no server is there yet.

A program that waits for its database for half a minute looks as if it hung. After a second one line
tells what it waits for, why, and for how long; a second line tells how that ended.
"""

from __future__ import annotations

import logging
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

__all__ = ["announce"]

_log = logging.getLogger("zeotwisted.client")

#: How long (seconds) to wait in silence.
_SILENT = 1.0


class Awaited(Protocol):
    """What is waited for: a `zeotwisted.clientstorage.connection.connection.ClientConnection`."""

    def when_ready(self, timeout: float, fail_fast: bool = False) -> Deferred[Any]: ...

    def where(self) -> str: ...

    def explanation(self) -> str: ...


def announce(awaited: Awaited, clock: IReactorTime, name: str, timeout: float) -> None:
    """Say in the log that the client `name` waits, if it has to for more than a second.

    It belongs to the reactor's thread. The lines are warnings, which Python shows on stderr unless
    an application sets up its logging.

    :param timeout: for how long (seconds) the client will wait.
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
