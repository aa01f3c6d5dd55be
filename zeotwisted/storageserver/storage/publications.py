"""The queue of new transactions, between a storage's threads and the reactor's thread.

A storage reports a new transaction in any thread. This is the commit thread, or a thread of the
storage if it is a client of another server. The order of these reports is the order of the
transactions, and all clients have to be notified in this order.

Therefore the storage's thread adds the transaction to the queue while it reports it. The reactor's
thread empties the queue from the front, up to the first transaction whose outcome is not known yet.

If other processes commit in the same storage, its engine adds all transactions, in order. When one
of our clients' is published, its client is answered before the next one is published.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from ..engine import OwnCommit

__all__ = ["Publication", "Publications"]


class Publication:
    """One transaction's place in the queue.

    :ivar origin: the client that committed the transaction, and is not notified. None if the
        transaction is from outside.
    :ivar own: the commit that waits for its publication, in a storage that others change, too.
    """

    __slots__ = ("oids", "origin", "outcome", "own", "tid")

    def __init__(
        self, tid: bytes, oids: Sequence[bytes], origin: object, own: OwnCommit | None = None
    ) -> None:
        self.tid = tid
        self.oids = oids
        self.origin = origin
        self.own = own
        #: True when the transaction is in the storage, False when it failed, None before that.
        self.outcome: bool | None = None


class Publications:
    """The queue.

    :param publish: called in the reactor's thread with each transaction that is in the storage.
    :param send: called in the reactor's thread to send what was published.
    :param call_from_thread: runs a function in the reactor's thread; may be called in any thread.
    """

    def __init__(
        self,
        publish: Callable[[Publication], None],
        send: Callable[[], None],
        call_from_thread: Callable[..., Any],
    ) -> None:
        self._publish = publish
        self._send = send
        self._call_from_thread = call_from_thread
        self._queue: deque[Publication] = deque()
        self._lock = Lock()
        # The commit whose client has to be answered now, before anything else is published.
        self._to_answer: OwnCommit | None = None
        self._publishes = False

    def reserve(self, tid: bytes, oids: Sequence[bytes], origin: object) -> Publication:
        """Add a transaction whose outcome is not known yet, in any thread."""
        return self._append(Publication(tid, oids, origin))

    def _append(self, publication: Publication) -> Publication:
        with self._lock:
            self._queue.append(publication)
        return publication

    def settle(self, publication: Publication, committed: bool) -> None:
        """Set the outcome, in any thread.

        The caller must then have `publish` or `drain` called in the reactor's thread. `settle` does
        not wake the reactor for that: the answer to the commit does it in any case.

        If the client gets the tid as its answer, settle in the reactor's thread, and `publish` up
        to this transaction in the same turn. Later ones must not overtake the answer.
        """
        publication.outcome = committed

    def add(self, tid: bytes, oids: Sequence[bytes], own: OwnCommit | None = None) -> None:
        """Add a transaction that is in the storage already, in any thread.

        :param own: a commit that waits for its publication. Its client is to be answered, and then
            `answered` to be called.
        """
        publication = Publication(tid, oids, None if own is None else own.origin, own)
        publication.outcome = True
        self._append(publication)
        self._call_from_thread(self.drain)

    def drain(self) -> None:
        """Publish all transactions whose outcome is known, and send them.

        Call this in the reactor's thread. Stop at the first transaction without an outcome.
        """
        try:
            self.publish()
        finally:
            self._send()

    def publish(self, last: Publication | None = None) -> None:
        """Publish as `drain` does, in the reactor's thread, but send nothing.

        :param last: stop behind this one.
        """
        # A client's answer calls this again. Many answers would exceed the recursion limit.
        if self._publishes:
            return
        self._publishes = True
        try:
            while self._to_answer is None:
                with self._lock:
                    if not self._queue or self._queue[0].outcome is None:
                        return
                    publication = self._queue.popleft()
                if publication.outcome:
                    self._publish_one(publication)
                if publication is last:
                    return
        finally:
            self._publishes = False

    def _publish_one(self, publication: Publication) -> None:
        self._publish(publication)
        own = publication.own
        if own is not None and not own.published.called:
            self._to_answer = own
            own.published.callback(publication.tid)

    def answered(self, own: OwnCommit) -> None:
        """Go on, as the client of the last published transaction has been answered."""
        if self._to_answer is own:
            self._to_answer = None
            self.drain()
