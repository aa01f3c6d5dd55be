"""What a served storage asks of its clients, and of their transactions."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from zeotwisted.protocol import Broadcast

from ..floods import Kind

__all__ = ["Listener", "Undecided"]


class Listener(Protocol):
    """A client that has registered for this storage."""

    label: str

    @property
    def number(self) -> int:
        """The number of its connection."""

    def tell(self, news: Broadcast) -> None:
        """Queue a broadcast. It leaves with the next message, or with `send`."""

    def send(self) -> None:
        """Send what is queued."""

    def drop(self, reason: str) -> None:
        """Log the reason and end the client's connection."""

    def admit(self, kind: Kind) -> bool:
        """Return whether to write one more log line of this kind about the client."""

    @property
    def wants_to_write(self) -> bool:
        """Whether it reads only because the storage is read-only now."""

    @property
    def takes_timeouts(self) -> bool:
        """Whether it understands `TransactionTimeout` as the answer to its next call.

        If not, its connection has to end when its transaction is aborted.
        """


class Undecided(Protocol):
    """A transaction that has voted, and is neither finished nor aborted yet."""

    def settle(self) -> Deferred[None]:
        """Return a Deferred that fires when the transaction is over."""
