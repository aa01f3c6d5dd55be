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
    #: How much memory (bytes) each storage may use to keep the records that clients have loaded
    #: lately. They are sent to other clients without asking the storage.
    record_cache_bytes: int = 32 * 1024 * 1024
    #: How long (seconds) a client that has voted may hold the commit lock before its transaction is
    #: aborted. 0 or None: for ever.
    transaction_timeout: float | None = 60.0
    #: Let the clients resolve conflicts. The server then needs none of the application's classes.
    client_conflict_resolution: bool = False
    #: The classes that the server may load to resolve conflicts: dotted names of classes and
    #: modules, or ``"*"`` for all. It leaves other conflicts to the clients. None: those of BTrees,
    #: or none if clients have roles.
    conflict_classes: tuple[str, ...] | None = None
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
    #: How long (seconds) a commit waits until a standby has written it. After that it is answered
    #: all the same, and commits do not wait until a standby has everything. 0: never wait.
    synchronous_standby: float = 0.0
    #: When the server stops: how long (seconds) it waits for transactions that have voted.
    drain_timeout: float = 5.0
    #: When the server stops: "interrupt" a pack that runs, or "wait" for it.
    pack_at_stop: str = "interrupt"
    #: How long (seconds) a connection may take to register for a storage.
    register_timeout: float = 30.0
    #: How many bytes a connection may send before it has registered for a storage.
    register_bytes: int = 64 * 1024
    #: How many connections there may be. None: three tenths of the file
    #: descriptors of the process.
    connection_limit: int | None = None
    #: How many of them may come from one address. Unix sockets are one address, and so are the IPv6
    #: addresses of one /64 network. None: a half of all.
    address_limit: int | None = None
    #: How many of them may be connections that have not registered for a storage. None: a half of
    #: all.
    unregistered_limit: int | None = None
    #: How much memory (bytes) messages may take that have not arrived completely. If all clients
    #: together exceed it, the one that holds the most is disconnected. At least `message_limit`.
    message_memory: int = 2**30
    #: How many bytes may wait for a client that does not take what it is sent.
    send_limit: int = 256 * 1024 * 1024
    #: How many bytes may wait for all such clients together. After that, the client for which the
    #: most bytes wait is disconnected.
    send_memory: int = 2**30
    #: How much memory (bytes) the transactions of all clients may take before they are voted. Past
    #: it, all but the first 64 KB of a transaction are kept on disk.
    spool_memory: int = 256 * 1024 * 1024
    #: How much room (bytes) transactions and blobs may take on disk before they are voted.
    spool_limit: int = 64 * 2**30
    #: How many bytes of a disk transactions and blobs that are not voted have to leave free; of a
    #: small disk, a twentieth.
    disk_reserve: int = 256 * 1024 * 1024
    #: How many files of long transactions and of blobs may be open. None: four tenths of the file
    #: descriptors of the process.
    file_limit: int | None = None
    #: How many blobs that clients read may keep their file open. None: a tenth of the file
    #: descriptors of the process. Past it, the file is opened again for each part of the blob.
    download_files: int | None = None
    #: How many iterators of clients may have a file open. None: a tenth of the file descriptors of
    #: the process. Past it, clients have equal shares. The others are opened again for their next
    #: use.
    iterator_files: int | None = None
    #: How many iterators clients may have. Past it, clients have equal shares, and those that they
    #: have not used for the longest time are removed.
    iterator_limit: int = 200_000
    #: How long (seconds) an iterator that is not used keeps its file open. The next use opens it
    #: again.
    iterator_timeout: float = 60.0
    #: How many calls of a client may be under way. The server then reads no more from the client
    #: until a half of them are answered.
    call_limit: int = 1000
    #: How many calls of all clients may be under way. The server then reads no more from clients
    #: that have more than a few.
    call_total: int = 20_000
    #: How long (bytes) a transaction may be, with its blobs.
    transaction_limit: int = 16 * 2**30
    #: How many operations a transaction may have.
    operation_limit: int = 5_000_000
    #: How long (seconds) a registered client may be silent. After that it is disconnected, and its
    #: transaction is aborted. Before that the server sends it a ping, which it answers. ZEO's
    #: clients do not answer a ping; they have at least 150 seconds. 0 or None: no limit.
    client_timeout: float | None = 60.0

    def __post_init__(self) -> None:
        checked(SERVER_OPTIONS, vars(self))
