"""Loads records, and keeps what their answers bring besides."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from time import perf_counter
from typing import Any, Protocol

from zeotwisted.exceptions import UnrecognizedResult
from zeotwisted.protocol import LOAD_AHEAD, Ahead, unpack_ahead

from ..calls import Answer, ClientProtocol, Waiter
from .worth import MOST, Plan, Worth

__all__ = ["AheadLoads"]

#: How many records are remembered that have come and were not used yet.
_MOST = 4096

#: How many of its last uses a thread tells the server at a time.
_TOLD = 500

#: How long (bytes) the records of an answer may be.
_LONGEST = 2**24

#: How many bytes an answer has besides the data of a record.
_HEAD = 40

#: How many threads are told apart.
_THREADS = 32


class Coherence(Protocol):
    """The part of `records.Coherence` that this package uses."""

    def loaded_ahead(self, records: Sequence[Ahead]) -> None:
        """Store current revisions that nobody has asked for, in the order of the wire."""


class AheadLoads:
    """Loads that may bring more records. All methods may be called in any thread.

    :param cache_size: how many bytes the cache may have.
    :param seconds: returns the time in seconds.
    :ivar unused: the records that have come and were not used yet, and what their use is worth.
    :ivar records: how many records have come that were not asked for.
    :ivar used: how many of them were used.
    """

    def __init__(
        self,
        coherence: Coherence,
        cache_size: int,
        seconds: Callable[[], float] = perf_counter,
    ) -> None:
        self.unused: OrderedDict[bytes, float] = OrderedDict()
        self.records = self.used = 0
        self._coherence = coherence
        self._seconds = seconds
        self._worth = Worth(cache_size)
        self._uses = _Uses(count())

    @staticmethod
    def understands(protocol: ClientProtocol) -> bool:
        """Return whether the server has this call."""
        return LOAD_AHEAD in protocol.capabilities

    def note_use(self, oid: bytes) -> None:
        """Note that a record of `unused` was found in the cache."""
        credit = self.unused.pop(oid, None)
        if credit is None:
            # Another thread was faster.
            return
        self.used += 1
        self._worth.used(credit)
        self._uses.note(oid)

    def load(
        self,
        protocol: ClientProtocol,
        oid: bytes,
        tid: bytes,
        keep: Callable[[Any], Any],
    ) -> tuple[bytes, bytes, bytes | None] | None:
        """Do what a call of ``loadBefore`` does.

        :param keep: puts the record into the cache, and returns it.
        """
        begin = self._seconds()
        plan = self._plan(oid)
        records = 0
        if plan is None:
            revision = protocol.load(Waiter(keep), oid, tid)
            # The server learns of it with the next load that asks for more.
            self._uses.note(oid)
        else:
            waiter = Waiter(partial(self._came, keep))
            question = self._question(oid, tid, plan)
            revision, records = protocol.ask(waiter, "loadAhead", *question)
        self._worth.measured(self._seconds() - begin, records)
        return revision

    def begin(
        self,
        protocol: ClientProtocol,
        oid: bytes,
        tid: bytes,
        answer: Callable[[Callable[[Any], Any]], Answer],
        keep: Callable[[Any], Any],
    ) -> None:
        """Do what `load` does; do not wait for the answer.

        :param answer: returns what receives the answer; it gets a function that takes the answer
            and returns the record.
        """
        begin = self._seconds()

        def came(value: Any) -> Any:
            revision, records = (keep(value), 0) if plan is None else self._came(keep, value)
            self._worth.measured(self._seconds() - begin, records)
            return revision

        plan = self._plan(oid)
        if plan is None:
            protocol.call(answer(came), "loadBefore", oid, tid)
            self._uses.note(oid)
        else:
            protocol.call(answer(came), "loadAhead", *self._question(oid, tid, plan))

    def _plan(self, oid: bytes) -> Plan | None:
        # If it came ahead, the cache has dropped it.
        self.unused.pop(oid, None)
        return self._worth.plan()

    def _question(self, oid: bytes, tid: bytes, plan: Plan) -> tuple[Any, ...]:
        uses = self._uses
        used = b"".join(uses.oids)
        uses.oids.clear()
        return oid, tid, plan.records, plan.size, plan.least, used, uses.thread

    def _came(self, keep: Callable[[Any], Any], answer: Any) -> tuple[Any, int]:
        """Take an answer apart; return the record, and how many came besides."""
        if type(answer) is not tuple or len(answer) != 2 or type(answer[1]) is not bytes:
            raise UnrecognizedResult("loadAhead", answer)
        revision, packed = answer
        keep(revision)
        wanted = 0 if revision is None else len(revision[0])
        return revision, self._keep(packed, wanted)

    def _keep(self, packed: bytes, wanted: int) -> int:
        """Put records into the cache; return how many they are."""
        try:
            records = unpack_ahead(packed, MOST, _LONGEST)
        except ValueError as error:
            raise UnrecognizedResult("loadAhead", str(error)) from error
        self._worth.came(len(records), len(packed), wanted)
        if not records:
            return 0
        self._coherence.loaded_ahead(records)
        self.records += len(records)
        unused = self.unused
        credit = self._worth.credit
        share = len(packed) / sum(len(data) + _HEAD for _, _, data in records)
        for oid, _, data in records:
            size = len(data) + _HEAD
            unused[oid] = credit(size, share * size)
        while len(unused) > _MOST:
            # Other threads may change it: this is one step.
            unused.popitem(last=False)
        return len(records)


class _Uses(threading.local):
    """What a thread has used since it told the server.

    :ivar thread: a number for it.
    """

    def __init__(self, numbers: Iterator[int]) -> None:
        self.oids: deque[bytes] = deque(maxlen=_TOLD)
        self.thread = next(numbers) % _THREADS
        self.note = self.oids.append
