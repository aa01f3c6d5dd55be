"""Counts what goes over the connections of a client."""

from __future__ import annotations

__all__ = ["Traffic"]


class Traffic:
    """The counts of all connections of one storage, one after the other.

    Threads count without a lock, so that a count may miss a few.

    :ivar round_trips: calls that had to wait for an answer.
    :ivar bytes_sent: of calls.
    :ivar bytes_received: of everything.
    """

    __slots__ = ("bytes_received", "bytes_sent", "round_trips")

    def __init__(self) -> None:
        self.round_trips = 0
        self.bytes_sent = 0
        self.bytes_received = 0
