"""The queue of new transactions, between a storage's threads and the reactor's thread.

A storage reports a new transaction in any thread. This is the commit thread, or a thread of the
storage if it is a client of another server. The order of these reports is the order of the
transactions, and all clients have to be notified in this order.

Therefore the storage's thread adds the transaction to the queue while it reports it. The reactor's
thread empties the queue from the front, up to the first transaction whose outcome is not known yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

__all__ = ["Publication", "Publications"]


class Publication:
    """One transaction's place in the queue.

    :ivar origin: the client that committed the transaction, and is not notified. None if the
        transaction is from outside.
    """

    __slots__ = ("oids", "origin", "outcome", "tid")

    def __init__(self, tid: bytes, oids: Sequence[bytes], origin: object) -> None:
        self.tid = tid
        self.oids = oids
        self.origin = origin
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

    def add(self, tid: bytes, oids: Sequence[bytes]) -> None:
        """Add a transaction that is in the storage already, in any thread."""
        publication = Publication(tid, oids, None)
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
        while True:
            with self._lock:
                if not self._queue or self._queue[0].outcome is None:
                    return
                publication = self._queue.popleft()
            if publication.outcome:
                self._publish(publication)
            if publication is last:
                return
