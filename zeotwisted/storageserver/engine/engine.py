"""What a served storage needs from the engine below it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from ZODB.Connection import TransactionMetaData

__all__ = ["Answer", "Engine", "Lending", "News", "OwnCommit", "Records", "Remote"]


class OwnCommit:
    """A transaction of one of our clients, from the begin of its finish on.

    :param origin: the client's connection.
    :param oids: the objects that it changes.
    :param mark: what `Engine.voted` returned.
    :ivar published: fires in the reactor's thread, with the tid, when the other clients have been
        told of the transaction. Its client is to be answered at once then. It fails if the storage
        has raised an exception.
    """

    __slots__ = ("mark", "oids", "origin", "published")

    def __init__(self, origin: Any, oids: Sequence[bytes], mark: bytes | None) -> None:
        self.origin = origin
        self.oids = oids
        self.mark = mark
        self.published: Deferred[bytes] = Deferred()

    def failed(self, failure: Any) -> None:
        """Have `published` fail, unless it has fired."""
        if not self.published.called:
            self.published.errback(failure)


class News(Protocol):
    """Receives what happens in a shared storage. Call the methods in any thread."""

    def committed(self, tid: bytes, oids: Sequence[bytes], own: OwnCommit | None) -> None:
        """Publish a transaction; those that are passed first are published first.

        :param own: the transaction, if it is one of our clients'. If it has no `origin`, its client
            is told of the transaction, too, before it gets the answer to its finish.
        """

    def lost_track(self) -> None:
        """It is not known any more which objects have changed."""

    def cut_off(self, reason: str) -> None:
        """The database cannot be read, so nothing may be called current any more."""

    def restored(self) -> None:
        """The database can be read again, and all that was committed meanwhile is published."""


class Records(Protocol):
    """Loads records in the reactor's thread, from the state that the database has meanwhile."""

    def load_before(self, oid: bytes, tid: bytes) -> Deferred[Any]:
        """Return what the storage's ``loadBefore`` returns."""

    def load_many_before(self, oids: Sequence[bytes], tid: bytes) -> Deferred[list[Any]]:
        """Return the results for the first few of `oids`; False for an object that is not there."""

    def close(self) -> None:
        """Close the connections. What is under way fails."""


class Answer(Protocol):
    """Receives an answer, in any thread."""

    def callback(self, value: Any) -> None:
        """Receive the answer."""

    def errback(self, error: BaseException) -> None:
        """Receive an exception."""


class Remote(Protocol):
    """What a storage can do that is a client of another server; see `clientstorage.upstream`."""

    def load_cached(self, oid: bytes, tid: bytes) -> Any:
        """Return what ``loadBefore`` returns if the client has it in its cache; or None."""

    def note_use(self, oid: bytes) -> None:
        """Note that one of our clients uses a record."""

    def load_before(self, answer: Answer, oid: bytes, tid: bytes) -> None:
        """Ask for what ``loadBefore`` returns."""

    def load_many_before(self, answer: Answer, oids: Sequence[bytes], tid: bytes) -> None:
        """Ask for the results for the first few of `oids`; False if there is no such object."""

    def ping(self, answer: Answer) -> None:
        """Ask for an answer that comes when all is told that is committed now."""

    def changes_since(self, tid: bytes) -> Sequence[bytes] | None:
        """Return the oids that were changed after a transaction; None if it is too old. Wait."""

    @property
    def tells_tids(self) -> bool:
        """Whether the other server tells the tid of a transaction with its vote."""

    @property
    def voted_tid(self) -> bytes | None:
        """The tid of the transaction that has voted."""

    def outcome(self, tid: bytes, oid: bytes | None) -> bool:
        """Return whether the transaction is committed that had a tid at its vote. Wait."""

    def watch(self, lost: Callable[[], object], found: Callable[[], object]) -> None:
        """Have functions called when the other server cannot be reached, and when it can again."""


class Lending(Protocol):
    """Lends storages for transactions. Call the methods in any thread."""

    def prepare(self, function: Callable[[Any], object]) -> None:
        """Have `function` called with each storage that does transactions, before its first one."""

    def lease(self) -> Any:
        """Return the storage for one transaction, in the thread of its vote."""

    def give_back(self, storage: Any, is_sound: bool = True) -> None:
        """Take back the storage of `lease`, when the transaction is over. Call it in any thread.

        :param is_sound: whether it has done what it was told to do.
        """

    def forget(self) -> None:
        """Release what is not in use: its connections to the database may be lost."""


class Engine(Protocol):
    """How a storage is served.

    :ivar storage: the ZODB storage for all calls but transactions. It may be used in all threads.
    :ivar is_shared: whether other processes commit, so that transactions are published by `News`.
    :ivar is_replica: whether the database is a copy that takes no commits.
    :ivar votes: how many transactions may be between their vote and their end at the same time.
    :ivar unpickles: whether the storage loads a record as a pickle if it finds a conflict.
    :ivar database: tells the database from all others; an empty text if that is not known.
    :ivar remote: asks the server that has the storage; None if this daemon has it.
    :ivar marks: whether each vote gives a mark, and `outcome` tells what became of it.
    """

    storage: Any
    is_shared: bool
    is_replica: bool
    votes: int
    marks: bool
    unpickles: bool
    database: str
    remote: Remote | None

    @property
    def lending(self) -> Lending:
        """Lends the storages for transactions."""

    @property
    def records(self) -> Records | None:
        """Loads records faster than `storage` does; or None."""

    def voted(self, storage: Any) -> bytes | None:
        """Mark a transaction that has voted, and return its mark, of 8 bytes, if there are marks.

        If this raises, the transaction has to be aborted.
        """

    def knows(self, tid: bytes) -> bool:
        """Return whether a transaction that a client has seen is in the database, in a thread.

        A server that took the place of another one may lack it, and have later ones instead. This
        returns False, too, if nobody can tell.
        """

    def outcome(self, mark: bytes) -> bytes | None:
        """Return the tid of the transaction with a mark; None if it never will be committed.

        Wait for its end, in a thread. It may have been begun in another process.

        :raises ZODB.POSException.StorageError: it is not known yet.
        """

    def finish(self, storage: Any, transaction: TransactionMetaData, own: OwnCommit) -> None:
        """Do ``tpc_finish`` in a shared storage, in a thread; `News` gets the transaction.

        :param storage: what `lending` has lent.
        """

    def start(self, news: News) -> None:
        """Begin to tell `news`."""

    def refresh(self, done: Callable[[], object]) -> None:
        """Have `done` called, in some thread, when `News` has all that is committed now.

        It is called late, or never, if the database cannot be reached.
        """

    def stop(self) -> None:
        """Stop to tell news, and release the instances.

        It waits for a thread: do not call it in the reactor's thread.
        """
