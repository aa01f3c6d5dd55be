"""What a server needs of its storage if that storage is a client of another server.

A daemon on each host is such a server. Its thread must not wait, and many applications load through
it at the same time: so it has the answers of the other server passed on, and no thread waits for
them. Commits and what is rare go through the methods of `ClientStorage`, in threads of the server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.python.failure import Failure
from ZODB.POSException import StorageError

from zeotwisted.exceptions import ClientDisconnected

from .calls import Answer, ClientProtocol, Waiter
from .commit import Committing
from .connection import Link, missed_changes
from .records import Coherence, Reader

__all__ = ["Upstream"]


class Upstream:
    """Loads records for a server, and tells it whether there is a connection.

    Call the methods in the server's thread; none of them waits but `changes_since` and `outcome`.
    Answers come in any thread, in one order with what `ClientStorage` tells its database. They are
    `ClientDisconnected` if there is no connection.
    """

    def __init__(
        self, link: Link, coherence: Coherence, reader: Reader, committing: Committing
    ) -> None:
        self._link = link
        self._committing = committing
        self._coherence = coherence
        self._reader = reader
        self._lost: Callable[[], object] = lambda: None
        self._found: Callable[[], object] = lambda: None

    # Records.

    def load_cached(self, oid: bytes, tid: bytes) -> tuple[bytes, bytes, bytes | None] | None:
        """Return the revision before `tid`, if it is in the cache."""
        return self._coherence.load_before(oid, tid)

    def note_use(self, oid: bytes) -> None:
        """Note that an application uses a record, which may have come ahead of need."""
        if oid in self._reader.unused:
            self._reader.note_use(oid)

    def load_before(self, answer: Answer, oid: bytes, tid: bytes) -> None:
        """Load a revision; see `ClientStorage.loadBefore`."""
        self._ask(answer, lambda protocol: self._reader.begin(protocol, answer, oid, tid))

    def load_many_before(self, answer: Answer, oids: Sequence[bytes], tid: bytes) -> None:
        """Load the revisions of the first few of `oids`, in one round trip if the server can.

        The answer is a sequence of them. False means that the object does not exist.
        """
        self._ask(answer, lambda protocol: self._reader.begin_many(protocol, answer, oids, tid))

    # Changes.

    def ping(self, answer: Answer) -> None:
        """Have `answer` called when the database has been told of all that is committed now."""
        self._ask(answer, lambda protocol: protocol.call(answer, "ping"))

    def changes_since(self, tid: bytes) -> Sequence[bytes] | None:
        """Return the oids that were changed after `tid`, perhaps with some more.

        None if the server does not know them. Wait for the answer.

        :raises ClientDisconnected: there is no connection.
        """
        missed = self._link.call("getInvalidations", tid)
        return missed_changes(missed)[1] if missed else None

    # Commits.

    @property
    def tells_tids(self) -> bool:
        """Whether the other server tells the tid of a transaction with its vote."""
        protocol = self._link.ready
        return protocol is not None and protocol.tells_tids

    @property
    def voted_tid(self) -> bytes | None:
        """The tid of the transaction that has voted; None if the other server does not tell it."""
        return self._committing.voted_tid

    def outcome(self, tid: bytes, oid: bytes | None) -> bool:
        """Return whether a transaction is committed that had this tid at its vote.

        Wait for its end, and for the answer.

        :param oid: the oid of an object that it changes.
        :raises ClientDisconnected: there is no connection.
        :raises ZODB.POSException.StorageError: the other server cannot tell it.
        """
        protocol = self._link.protocol()
        if not protocol.tells_tids:
            raise StorageError("the server that has the storage tells no outcomes")
        return bool(protocol.ask(Waiter(), "tpc_outcome", tid, oid))

    # The connection.

    def watch(self, lost: Callable[[], object], found: Callable[[], object]) -> None:
        """Have a function called when the connection is lost, and when there is one again.

        Soon, if there is none now. `found` is called after the database has been told of what has
        changed meanwhile, and `lost` before a call fails; both in one thread.
        """
        self._link.begin()
        self._link.thread.reactor.callFromThread(self._watch, lost, found)

    def _watch(self, lost: Callable[[], object], found: Callable[[], object]) -> None:
        self._lost, self._found = lost, found
        if self._link.ready is None:
            lost()

    def lost(self) -> None:
        """The connection is lost."""
        self._lost()

    def found(self) -> None:
        """There is a connection."""
        self._found()

    def _ask(self, answer: Answer, ask: Callable[[ClientProtocol], object]) -> None:
        protocol = self._link.ready
        try:
            if protocol is not None:
                ask(protocol)
                return
            connection = self._link.begin()
        except ClientDisconnected as error:
            answer.errback(error)
            return

        def wait() -> None:
            waiting = connection.when_ready(self._link.timeout).addCallback(ask)
            waiting.addErrback(failed)

        def failed(failure: Failure) -> None:
            assert failure.value is not None
            answer.errback(failure.value)

        self._link.thread.reactor.callFromThread(wait)
