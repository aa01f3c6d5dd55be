"""What a client is looking for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .address import Address
from .security import Security, plain

__all__ = ["Target", "Wanted"]


class Wanted(Enum):
    """What a client wants to do with a server."""

    WRITABLE = "write"
    READ_ONLY = "read"
    EITHER = "write if possible, or else read"


@dataclass(frozen=True)
class Target:
    """A storage at one of several servers."""

    #: Where servers are; the first one that fits is used.
    addresses: tuple[Address, ...]
    #: The storage's name at the server.
    storage_id: str
    wanted: Wanted = Wanted.WRITABLE
    #: Whether to do without a server that has not seen what we have seen.
    refuse_older: bool = False
    #: The longest silence of a server, in seconds; 0 for any.
    liveness_timeout: float = 60.0
    #: Puts TLS on the way.
    security: Security = plain
