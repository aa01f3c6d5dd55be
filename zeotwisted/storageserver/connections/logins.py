"""Slows down hosts that guess passwords, and logs that they do."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zeotwisted.access import Throttle
from zeotwisted.exceptions import AccessDenied

from ..floods import Kind, brief
from ..limits import neighbourhood
from .peer import Peer

__all__ = ["Logins"]


class Logins:
    """The attempts of all clients to log in.

    :param clock: the reactor.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._throttle = Throttle(lambda: clock.seconds())

    @property
    def failures(self) -> int:
        """How many attempts have failed."""
        return self._throttle.failures

    def turn(self, peer: Peer) -> Deferred[None]:
        """Return a Deferred that fires when a client may make an attempt.

        :raises AccessDenied: too many attempts from the client's host wait already.
        """
        delay = self._throttle.delay(neighbourhood(peer.host))
        if delay is None:
            raise AccessDenied(
                "too many attempts to log in from this host have failed; wait a minute"
            )
        return succeed(None) if not delay else deferLater(self._clock, delay, _nothing)

    def failed(self, peer: Peer, label: str, user: str) -> None:
        """Count an attempt that has failed, and log it."""
        number = self._throttle.failed(neighbourhood(peer.host))
        if peer.admit(Kind.LOGIN):
            self._log.warn(
                "({label}) could not log in as {user}: wrong user name or password; "
                "failures from this host: {number}",
                label=label,
                user=brief(repr(user)),
                number=number,
            )


def _nothing() -> None:
    return None
