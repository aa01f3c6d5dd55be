"""What a server counts that concerns no storage."""

from __future__ import annotations

from enum import Enum

from .calls import CallFigures

__all__ = ["Refusal", "ServerFigures"]


class Refusal(Enum):
    """Why a connection or a call was refused. The values are for reports."""

    #: A limit of connections; which one is in the figures of limits.
    CONNECTION = "connection_limit"
    #: The client has no role for the storage, or not the one that its call needs.
    ROLE = "role"
    #: It registered for a storage that does not exist.
    UNKNOWN_STORAGE = "unknown_storage"
    #: It registered for a storage that cannot be used, for now or until the next start.
    UNAVAILABLE = "unavailable"
    #: It registered for writing, and the storage is read-only.
    READ_ONLY = "read_only"


class ServerFigures:
    """The counts of a server since it started. Use it in the reactor's thread only.

    :ivar calls: the figures of each call.
    :ivar refusals: how often something was refused.
    :ivar accepted: how many connections were let in.
    :ivar dropped: how many registered clients were disconnected.
    """

    def __init__(self) -> None:
        self.calls = CallFigures.of_all()
        self.refusals = dict.fromkeys(Refusal, 0)
        self.accepted = 0
        self.dropped = 0
