"""The servers and the storage that a client connects to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from zeotwisted.protocol import Capabilities

from .address import Address
from .credentials import Credentials
from .security import Security, plain

__all__ = ["Target", "Wanted"]


class Wanted(Enum):
    """The access that a client asks for."""

    WRITABLE = "write"
    READ_ONLY = "read"
    EITHER = "write if possible, or else read"


@dataclass(frozen=True)
class Target:
    """A storage at one of several servers."""

    #: The servers' addresses; the first server that fits is used.
    addresses: tuple[Address, ...]
    #: The storage's name at the server.
    storage_id: str
    wanted: Wanted = Wanted.WRITABLE
    #: Whether to refuse a server that has not seen all transactions that this client has seen.
    refuse_older: bool = False
    #: The longest silence of a server, in seconds; 0 for any.
    liveness_timeout: float = 60.0
    #: Adds TLS to the connection.
    security: Security = plain
    #: The user name and password, if the server asks for them.
    credentials: Credentials | None = None
    #: What this end can do beyond what all clients can; see `zeotwisted.protocol.capabilities`.
    offers: Capabilities = field(default_factory=dict)
