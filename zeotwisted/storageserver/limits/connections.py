"""Which connections are let in."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from .budget import Budget
from .hosts import neighbourhood

__all__ = ["Admission", "Guest"]

#: A well-behaved client registers within this time (seconds). If there is no room, the connection
#: that has waited for longest is closed, if it is older than this. So is one of an address that has
#: most of them, for one of another address.
_PROMPT = 2.0


class Guest(Protocol):
    """A connection."""

    @property
    def host(self) -> str:
        """The address that it comes from, without the port."""

    def drop(self, reason: str) -> None:
        """Log the reason, and end the connection."""


class Admission:
    """The connections of a server, by address, and whether they have registered.

    :param connections: counts all connections.
    :param unregistered: counts those that have not registered for a storage.
    :param of_address: counts the connections of the address that has the most.
    :ivar health_checks: how many connections have asked for the status, by ``ruok``.
    :ivar probes: how many others have ended, and had not registered for a storage.
    """

    def __init__(
        self, clock: IReactorTime, connections: Budget, unregistered: Budget, of_address: Budget
    ) -> None:
        self._clock = clock
        self._connections = connections
        self._unregistered = unregistered
        self._of_address = of_address
        self.health_checks = 0
        self.probes = 0
        self._by_address: Counter[str] = Counter()
        # Connections that have not registered, and when they came; the oldest is first.
        self._waiting: dict[Guest, float] = {}

    def refusal(self, host: str) -> str | None:
        """Return why to refuse a new connection from `host`, or None to let it in.

        An older connection that has not registered may have to go, to make room.
        """
        if self._by_address[neighbourhood(host)] >= self._of_address.most:
            return str(self._of_address.reached(f"the server has too many connections from {host}"))
        if not self._unregistered.fits() and not self._make_room(self._unregistered, host):
            return str(
                self._unregistered.reached("too many connections wait for their registration")
            )
        if not self._connections.fits() and not self._make_room(self._connections, host):
            return str(self._connections.reached("the server has too many connections"))
        return None

    def _make_room(self, budget: Budget, host: str) -> bool:
        oldest = next(iter(self._waiting), None)
        if oldest is not None and self._clock.seconds() - self._waiting[oldest] < _PROMPT:
            oldest = self._first_of_crowd(neighbourhood(host))
        if oldest is None:
            return False
        budget.strike()
        oldest.drop(
            f"it has not registered for a storage, and there is no room for others "
            f"({budget.key} {budget.most})"
        )
        # A connection that is dropped may end later.
        self._waiting.pop(oldest, None)
        return True

    def _first_of_crowd(self, newcomer: str) -> Guest | None:
        """Return the oldest connection of another address that has more than a half of those that
        wait. None if there is no such address.
        """
        places = {guest: neighbourhood(guest.host) for guest in self._waiting}
        ((crowd, number),) = Counter(places.values()).most_common(1)
        if crowd == newcomer or 2 * number <= len(places):
            return None
        return next(guest for guest, place in places.items() if place == crowd)

    def entered(self, guest: Guest) -> None:
        """Count a new connection."""
        self._connections.add()
        self._unregistered.add()
        self._waiting[guest] = self._clock.seconds()
        self._by_address[neighbourhood(guest.host)] += 1

    def registered(self, guest: Guest) -> None:
        """The connection has registered for a storage."""
        self._waiting.pop(guest, None)
        self._unregistered.add(-1)

    def asked(self, guest: Guest) -> None:
        """The connection has asked for the status. It ends without a registration."""
        self._waiting.pop(guest, None)
        self.health_checks += 1

    def left(self, guest: Guest, has_registered: bool) -> None:
        """The connection is lost."""
        self._connections.add(-1)
        waited = self._waiting.pop(guest, None) is not None
        if not has_registered:
            self._unregistered.add(-1)
            self.probes += waited
        place = neighbourhood(guest.host)
        self._by_address[place] -= 1
        if not self._by_address[place]:
            del self._by_address[place]

    def count_addresses(self) -> None:
        """Bring the number of connections of the address that has the most up to date."""
        most = max(self._by_address.values(), default=0)
        self._of_address.add(most - self._of_address.used)
