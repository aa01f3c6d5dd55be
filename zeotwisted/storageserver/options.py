"""The settings of a server."""

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

    #: Refuse clients that register for writing.
    read_only: bool = False
    #: Keep the invalidations of at least this many last transactions, for clients that reconnect.
    invalidation_queue_size: int = 100
    #: How much memory (bytes) each storage may use to keep the invalidations of more transactions.
    invalidation_queue_bytes: int = 32 * 1024 * 1024
    #: If the invalidations of a client are not kept any more: how old (seconds) its last
    #: transaction may be, for the server to read the invalidations from the storage. 0: never read
    #: them. None: a day, if the storage can do that fast.
    invalidation_age: float | None = None
    #: How long (seconds) a client that has voted may hold the commit lock before its transaction is
    #: aborted. 0 or None: for ever.
    transaction_timeout: float | None = 60.0
    #: Let the clients resolve conflicts. The server then needs none of the application's classes.
    client_conflict_resolution: bool = False
    #: Announce msgpack to ZEO's clients, which then use it. zeotwisted's own clients always use it
    #: with version 6.
    msgpack: bool = False
    #: The highest version of the protocol to announce, 5 or 6.
    protocol_limit: int = 6
    #: The longest message (bytes) to accept from a client.
    message_limit: int = DEFAULT_LIMIT
    #: The folder for transactions that are too long for the memory until the vote.
    #: None: the system's folder for temporary files.
    spool_dir: str | None = None
    #: When the server stops: how long (seconds) it waits for transactions that have voted.
    drain_timeout: float = 5.0
    #: When the server stops: "interrupt" a pack that runs, or "wait" for it.
    pack_at_stop: str = "interrupt"
    #: How long (seconds) a connection may take to register for a storage.
    register_timeout: float = 30.0
    #: How long (seconds) a registered client may be silent. After that it is disconnected, and its
    #: transaction is aborted. Before that the server sends it a ping, which it answers. ZEO's
    #: clients do not answer a ping; they have at least 150 seconds. 0 or None: no limit.
    client_timeout: float | None = 60.0

    def __post_init__(self) -> None:
        checked(SERVER_OPTIONS, vars(self))
