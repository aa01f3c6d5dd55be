"""Records that are loaded together with the one that is wanted, because they may be wanted next."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import partial
from threading import local
from typing import Any

from ..calls import ClientProtocol, Waiter
from .coherence import Coherence
from .loads import into_cache, keep_many

__all__ = ["ReadAhead"]

#: Finds references without parsing the record: in a pickle, an oid is a string with its length
#: before it. Whatever else looks like that does no harm: there is no such object. (Zeros and then a
#: small number are what texts of eight letters do not have, and oids up to 34 billion do.)
_references = re.compile(rb"\x08(\0\0\0[\0-\x07].{4})", re.DOTALL).findall

#: How many records to remember, how long they may be, and how many references they have at least.
_RECENT = 8
_LONGEST = 16 * 1024
_LEAST = 4

#: How many references may be left out between two that are followed one after the other.
_GAP = 2

#: How many records to read ahead of the first time, and how many at most.
_FIRST = 8
_MOST = 64


class ReadAhead:
    """Loads records, and guesses from the order of the loads what is wanted next.

    If one reference of a record is followed after another, in their order, those behind them are
    read ahead: a few at first, more as soon as the next one behind these is wanted. To look an
    object up in a BTree is to follow one reference of each node, and nothing is read ahead.

    Nothing depends on it: a load asks again for what did not come, or was not kept. It needs a
    server that speaks version 6. All methods may be called in any thread.
    """

    def __init__(self, coherence: Coherence) -> None:
        self._coherence = coherence
        # Each thread goes its own way through the database.
        self._trails = _Trails()

    def load(
        self, protocol: ClientProtocol, oid: bytes, tid: bytes
    ) -> tuple[bytes, bytes, bytes | None] | None:
        """Do what a call of ``loadBefore`` does."""
        trail = self._trails.trail
        ahead = trail.after(oid)
        if ahead and (ahead := self._coherence.missing(ahead, tid)):
            revision = self._load_many(protocol, (oid, *ahead), tid, trail)
            if revision is not None:
                return revision
        waiter = Waiter(into_cache(self._coherence, oid))
        result = protocol.load(waiter, oid, tid)
        if result is not None:
            trail.loaded(result[0])
        return result

    def _load_many(
        self, protocol: ClientProtocol, oids: Sequence[bytes], tid: bytes, trail: _Trail
    ) -> tuple[bytes, bytes, bytes | None] | None:
        """Return the first record, or None if the server has to be asked what is the matter."""
        waiter = Waiter(partial(_all_into_cache, self._coherence, oids))
        first, *others = protocol.ask(waiter, "loadManyBefore", oids, tid)
        trail.loaded_ahead([other[0] for other in others if other])
        if not first:
            return None
        trail.loaded(first[0])
        return first


def _all_into_cache(coherence: Coherence, oids: Sequence[bytes], results: Any) -> Any:
    keep_many(coherence, oids, results)
    return results


class _Trail:
    """Where a thread has been of late."""

    def __init__(self) -> None:
        self._recent: deque[_Record] = deque(maxlen=_RECENT)
        # What was read ahead, and may not have been wanted so far.
        self._ahead: deque[bytes] = deque(maxlen=_MOST)

    def loaded(self, data: bytes) -> None:
        """A record is what was wanted."""
        if len(data) <= _LONGEST:
            references = dict.fromkeys(_references(data))
            if len(references) >= _LEAST:
                self._recent.appendleft(_Record(references))

    def loaded_ahead(self, datas: Sequence[bytes]) -> None:
        """Records were read ahead."""
        self._ahead.extendleft(data for data in reversed(datas) if len(data) <= _LONGEST)

    def after(self, oid: bytes) -> Sequence[bytes]:
        """Return what may be wanted after `oid`, which is wanted now and not in the cache."""
        found = False
        for record in self._recent:
            if oid in record.references:
                found = True
                if ahead := record.follow(oid):
                    # It is worth while to remember this one for longer.
                    self._recent.remove(record)
                    self._recent.appendleft(record)
                    return ahead
        # They are wanted in their order, so each of them is looked into only once.
        while not found and self._ahead:
            data = self._ahead.popleft()
            if oid in data:
                found = True
                self.loaded(data)
                if self._recent and oid in self._recent[0].references:
                    self._recent[0].follow(oid)
        return ()


class _Trails(local):
    def __init__(self) -> None:
        self.trail = _Trail()


class _Record:
    """A record, and how far its references were followed.

    :ivar references: the oids, in their order.
    """

    __slots__ = ("_end", "_most", "references")

    def __init__(self, references: dict[bytes, None]) -> None:
        self.references = references
        # The place behind the last one that was followed or read ahead; 0 if there was none.
        self._end = 0
        self._most = _FIRST

    def follow(self, oid: bytes) -> Sequence[bytes]:
        """The reference to `oid` is followed; return what may be wanted after it."""
        order = tuple(self.references)
        place = order.index(oid)
        end, self._end = self._end, place + 1
        if place < end and self._most > _FIRST:
            # It was read ahead, and the cache did not keep it.
            self.references = {}
            return ()
        if not end or not 0 <= place - end <= _GAP:
            self._most = _FIRST
            return ()
        ahead = order[place + 1 : place + 1 + self._most]
        self._end += len(ahead)
        self._most = min(self._most * 4, _MOST)
        return ahead
