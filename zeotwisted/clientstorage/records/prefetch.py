"""Prefetch: loads records into the cache before the application needs them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from threading import Lock
from typing import Any

from ZODB.POSException import POSKeyError

from zeotwisted.exceptions import ClientDisconnected

from ..calls import ClientProtocol, Waiter
from .coherence import Coherence
from .loads import keep_many

__all__ = ["Prefetches"]

_log = logging.getLogger("zeotwisted.client")

#: How many records a request has, and how many requests are sent before the first answer. More
#: would not be faster: the application uses records more slowly than they arrive. It bounds the
#: memory of both sides.
_RECORDS = 100
_REQUESTS = 2


class Prefetches:
    """The prefetch requests of a storage. All methods may be called in any thread.

    Records may be missing afterwards: then a load asks for them again.
    """

    def __init__(self, coherence: Coherence) -> None:
        self._coherence = coherence
        #: The requests without an answer, by oid.
        self._under_way: dict[bytes, _Request] = {}

    def prefetch(self, protocol: ClientProtocol, oids: Iterable[bytes], tid: bytes) -> None:
        """Request records; do not wait for them.

        :param oids: is consumed before this returns.
        :raises ClientDisconnected: the connection is lost.
        """
        # A list: the rest is requested later, in another thread, and an iterable of the
        # application's must not run there.
        rest = iter(list(oids))
        for _ in range(_REQUESTS):
            self._ask_for_some(protocol, rest, tid)

    def wait_for(self, oid: bytes) -> bool:
        """Wait for a record if it is requested; return whether it was.

        :raises ClientStorageError: this call would deadlock; see `ClientProtocol.check_may_wait`.
        """
        request = self._under_way.get(oid)
        if request is None:
            return False
        request.wait()
        return True

    def _ask_for_some(self, protocol: ClientProtocol, rest: Iterator[bytes], tid: bytes) -> None:
        while some := list(islice(rest, _RECORDS)):
            missing = self._coherence.missing(some, tid)
            wanted = [oid for oid in missing if oid not in self._under_way]
            if wanted:
                self._ask(protocol, wanted, tid, rest)
                return

    def _ask(
        self, protocol: ClientProtocol, oids: Sequence[bytes], tid: bytes, rest: Iterator[bytes]
    ) -> None:
        def done() -> None:
            self._forget(oids)
            try:
                # The server cuts a long answer: it is about the first oids only.
                left = oids[request.answered :]
                if left and request.answered:
                    self._ask(protocol, left, tid, rest)
                else:
                    self._ask_for_some(protocol, rest, tid)
            except ClientDisconnected:
                _log.debug("prefetch: the connection is lost")
            except Exception:
                _log.exception("prefetch failed")

        request = _Request(protocol, done)
        self._under_way.update(dict.fromkeys(oids, request))
        try:
            if protocol.is_extended:
                answer = request.answer(partial(keep_many, self._coherence, oids))
                protocol.call_all("loadManyBefore", [(answer, (oids, tid))])
            else:
                answers = [request.answer(partial(self._keep_one, oid)) for oid in oids]
                arguments = [(oid, tid) for oid in oids]
                protocol.call_all("loadBefore", list(zip(answers, arguments, strict=True)))
        except BaseException:
            self._forget(oids)
            request.end()
            raise

    def _keep_one(self, oid: bytes, result: Any) -> int:
        return keep_many(self._coherence, (oid,), (result,))

    def _forget(self, oids: Iterable[bytes]) -> None:
        for oid in oids:
            self._under_way.pop(oid, None)


class _Request:
    """Records that are requested together, and the threads that wait for them.

    :param done: called when all calls have been answered, or the connection is lost.
    :ivar answered: how many records have been answered.
    """

    def __init__(self, protocol: ClientProtocol, done: Callable[[], None]) -> None:
        self.answered = 0
        self._protocol = protocol
        self._done = done
        self._calls = 0
        self._lock = Lock()
        self._waiting: list[Waiter] | None = []

    def answer(self, keep: Callable[[Any], int]) -> _Answer:
        """Return a receiver for the answer to one more call.

        :param keep: puts the answer into the cache; returns how many records it has.
        """
        self._calls += 1
        return _Answer(self, keep)

    def received(self, records: int) -> None:
        """Count an answer with so many records."""
        self.answered += records
        self._calls -= 1
        if not self._calls:
            try:
                self._done()
            finally:
                self.end()

    def end(self) -> None:
        """Wake the threads that wait."""
        with self._lock:
            waiting, self._waiting = self._waiting or [], None
        for waiter in waiting:
            waiter.callback(None)

    def wait(self) -> None:
        """Wait until all answers have come."""
        self._protocol.check_may_wait("loadBefore")
        waiter = Waiter()
        with self._lock:
            if self._waiting is None:
                return
            self._waiting.append(waiter)
        self._protocol.wait(waiter)


class _Answer:
    """Receives an answer, at less cost than a Deferred."""

    __slots__ = ("_keep", "_request")

    def __init__(self, request: _Request, keep: Callable[[Any], int]) -> None:
        self._request = request
        self._keep = keep

    def callback(self, result: Any) -> None:
        """See `calls.waiter.Answer`."""
        records = 0
        try:
            records = self._keep(result)
        except Exception as error:
            _log.error("prefetch failed: %s", error)
        finally:
            # Also after Ctrl-C: other threads wait for this.
            self._request.received(records)

    def errback(self, error: BaseException) -> None:
        """See `calls.waiter.Answer`."""
        if not isinstance(error, (POSKeyError, ClientDisconnected)):
            _log.error("prefetch failed: %s", error)
        # POSKeyError is an answer: do not request that object again.
        self._request.received(1 if isinstance(error, POSKeyError) else 0)
