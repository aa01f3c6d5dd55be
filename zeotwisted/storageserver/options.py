"""What an operator can choose about a server."""

from __future__ import annotations

from dataclasses import dataclass

from zeotwisted.arguments import checked
from zeotwisted.protocol import DEFAULT_LIMIT

from .arguments import SERVER_OPTIONS

__all__ = ["ServerOptions"]


@dataclass(frozen=True)
class ServerOptions:
    """The settings of a `StorageServer`, with ZEO's names and defaults where ZEO has them.

    :raises ValueError: one of them can never work; the text says what to write instead.
    """

    #: Refuse clients that want to write.
    read_only: bool = False
    #: How many of the last transactions are kept for clients that come back, at least.
    invalidation_queue_size: int = 100
    #: How much memory (bytes) each storage may use to keep more of them.
    invalidation_queue_bytes: int = 32 * 1024 * 1024
    #: For clients that come back later than that: how old (seconds) their last transaction may be
    #: for the server to look up in the storage what they missed. 0: never. None: a day, if the
    #: storage can do that fast.
    invalidation_age: float | None = None
    #: How long (seconds) a client may hold the commit lock before it is disconnected.
    #: None: for ever.
    transaction_timeout: float | None = None
    #: Let the clients resolve conflicts. The server then needs none of the application's classes.
    client_conflict_resolution: bool = False
    #: Speak msgpack with ZEO's clients, too.
    msgpack: bool = False
    #: The highest version of the protocol to announce, 5 or 6.
    protocol_limit: int = 6
    #: The longest message to accept from a client, in bytes.
    message_limit: int = DEFAULT_LIMIT
    #: The folder for transactions that are too long to be kept in memory until they are voted.
    #: None: the system's folder for temporary files.
    spool_dir: str | None = None
    #: How long (seconds) a connection may take to choose its storage.
    register_timeout: float = 30.0
    #: The longest silence (seconds) of a registered client, before it is disconnected and what it
    #: holds is released. It is asked whether it is there before that. ZEO's clients cannot be
    #: asked, and have 150 seconds at least. 0 or None: no limit.
    client_timeout: float | None = 60.0

    def __post_init__(self) -> None:
        checked(SERVER_OPTIONS, vars(self))
