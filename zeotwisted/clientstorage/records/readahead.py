"""Read-ahead: loads records that are probably needed next together with the requested one."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import partial
from threading import local

from ..calls import ClientProtocol, Waiter
from .coherence import Coherence
from .loads import all_into_cache, into_cache

__all__ = ["ReadAhead"]

#: Finds references without parsing the record. In a pickle, an oid is a string with its length
#: before it. Oids up to 34 billion begin with three zeros and a small number; texts of eight
#: letters do not. Other bytes that match do no harm: there is no such object.
_references = re.compile(rb"\x08(\0\0\0[\0-\x07].{4})", re.DOTALL).findall

#: How many records to remember, how long (bytes) they may be, and how many references they must
#: have.
_RECENT = 8
_LONGEST = 16 * 1024
_LEAST = 4

#: How many references may be skipped between two that are followed in order.
_GAP = 2

#: How many records to read ahead at first, and at most.
_FIRST = 8
_MOST = 64


class ReadAhead:
    """Loads records, and predicts from the order of the loads which ones are needed next.

    If the application loads two references of a record in their order, the following references are
    read ahead: a few at first, more if the application loads the next one behind these. A lookup in
    a BTree loads one reference of each node, so nothing is read ahead.

    Records may be missing afterwards: then a load asks for them again. It needs a server with
    version 6 of the protocol. All methods may be called in any thread.
    """

    def __init__(self, coherence: Coherence) -> None:
        self._coherence = coherence
        # One trail for each thread: threads load in different orders.
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
        """Return the first record. None: call ``loadBefore``, which returns None or raises."""
        waiter = Waiter(partial(all_into_cache, self._coherence, oids))
        first, *others = protocol.ask(waiter, "loadManyBefore", oids, tid)
        trail.loaded_ahead([other[0] for other in others if other])
        if not first:
            return None
        trail.loaded(first[0])
        return first


class _Trail:
    """The records that a thread has loaded recently."""

    def __init__(self) -> None:
        self._recent: deque[_Record] = deque(maxlen=_RECENT)
        # The records that were read ahead and that the thread has perhaps not used yet.
        self._ahead: deque[bytes] = deque(maxlen=_MOST)

    def loaded(self, data: bytes) -> None:
        """Remember a record that the application requested."""
        if len(data) <= _LONGEST:
            references = dict.fromkeys(_references(data))
            if len(references) >= _LEAST:
                self._recent.appendleft(_Record(references))

    def loaded_ahead(self, datas: Sequence[bytes]) -> None:
        """Remember records that were read ahead."""
        self._ahead.extendleft(data for data in reversed(datas) if len(data) <= _LONGEST)

    def after(self, oid: bytes) -> Sequence[bytes]:
        """Return the oids to read ahead when `oid` is loaded, which is not in the cache."""
        found = False
        for record in self._recent:
            if oid in record.references:
                found = True
                if ahead := record.follow(oid):
                    # Remember this record for longer: its references are being followed.
                    self._recent.remove(record)
                    self._recent.appendleft(record)
                    return ahead
        # The application uses them in this order, so each one is searched only once.
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

    :ivar references: the oids in the order of the record.
    """

    __slots__ = ("_end", "_most", "references")

    def __init__(self, references: dict[bytes, None]) -> None:
        self.references = references
        # The index behind the last reference that was followed or read ahead; 0 if there is none.
        self._end = 0
        self._most = _FIRST

    def follow(self, oid: bytes) -> Sequence[bytes]:
        """Note that the reference to `oid` is followed; return the oids to read ahead."""
        order = tuple(self.references)
        place = order.index(oid)
        end, self._end = self._end, place + 1
        if place < end and self._most > _FIRST:
            # It was read ahead, but the cache has dropped it: read-ahead does not pay here.
            self.references = {}
            return ()
        if not end or not 0 <= place - end <= _GAP:
            self._most = _FIRST
            return ()
        ahead = order[place + 1 : place + 1 + self._most]
        self._end += len(ahead)
        self._most = min(self._most * 4, _MOST)
        return ahead
