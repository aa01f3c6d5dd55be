"""Records that are loaded together with the one that is wanted, because they may be wanted next."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from threading import local
from typing import Any

from ZODB.serialize import referencesf

from .coherence import Coherence
from .loads import into_cache, keep_many
from .protocol import ClientProtocol
from .waiter import Waiter

__all__ = ["ReadAhead"]

#: How many records to look into for a reference to what is wanted, and how long they may be. That
#: is done for each load.
_RECENT = 8
_LONGEST = 16 * 1024

#: How many references may be left out between two that are followed one after the other.
_GAP = 2

#: How many records to read ahead of the first time, and how many at most.
_FIRST = 8
_MOST = 64


class ReadAhead:
    """Loads records, and guesses from the order of the loads what is wanted next.

    If one reference of a record is followed after another, in their order, those behind them are
    read ahead: a few at first, more as soon as the next one behind these is wanted. To look an
    object up in a BTree is to follow one reference of each node, and nothing is read ahead. Records
    are not parsed before there is something to read ahead.

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
        # Records that were read ahead, and may not have been wanted so far.
        self._ahead: deque[_Record] = deque(maxlen=_MOST)

    def loaded(self, data: bytes) -> None:
        """A record is what was wanted."""
        if _may_refer(data):
            self._recent.appendleft(_Record(data))

    def loaded_ahead(self, datas: Sequence[bytes]) -> None:
        """Records were read ahead."""
        records = [_Record(data) for data in datas if _may_refer(data)]
        self._ahead.extendleft(reversed(records))

    def after(self, oid: bytes) -> list[bytes]:
        """Return what may be wanted after `oid`, which is wanted now and not in the cache."""
        found = False
        for record in list(self._recent):
            if (at := record.find(oid)) >= 0:
                found = True
                if ahead := record.follow(oid, at):
                    # It is worth while to remember this one for longer.
                    self._recent.remove(record)
                    self._recent.appendleft(record)
                    return ahead
        # They are wanted in their order, so each of them is looked into only once.
        while not found and self._ahead:
            record = self._ahead.popleft()
            if (at := record.find(oid)) >= 0:
                record.follow(oid, at)
                self._recent.appendleft(record)
                break
        return []


class _Trails(local):
    def __init__(self) -> None:
        self.trail = _Trail()


def _may_refer(data: bytes) -> bool:
    # In a pickle, an oid is a string with its length before it; no database has so many objects
    # that one begins with anything but zero.
    return len(data) <= _LONGEST and b"\x08\0" in data


class _Record:
    """A record, and how far its references were followed."""

    __slots__ = ("_data", "_end", "_most")

    def __init__(self, data: bytes) -> None:
        self._data = data
        # The end of the last reference that was followed or read ahead; 0 if there was none.
        self._end = 0
        self._most = _FIRST

    def find(self, oid: bytes) -> int:
        """Return where there is a reference to `oid`; a negative number: nowhere."""
        return self._data.find(b"\x08" + oid) - 1

    def follow(self, oid: bytes, at: int) -> list[bytes]:
        """The reference at a place is followed; return what may be wanted after it."""
        data = self._data
        end, self._end = self._end, at + 10
        if at < end and self._most > _FIRST:
            # It was read ahead, and the cache did not keep it.
            self._data = b""
            return []
        # Here it begins with the opcode, which depends on the version of Python that wrote it.
        if not end or at < end or data.count(data[at : at + 2], end, at) > _GAP:
            self._most = _FIRST
            return []
        ahead = _references_behind(data, oid)[: self._most]
        if ahead:
            self._end = max(self._end, self.find(ahead[-1]) + 10)
            self._most = min(self._most * 4, _MOST)
        return ahead


def _references_behind(data: bytes, oid: bytes) -> list[bytes]:
    try:
        references = list(dict.fromkeys(referencesf(data)))
        return references[references.index(oid) + 1 :]
    except Exception:
        # Whatever it is, it is not for us to judge: what looked like a reference is none.
        return []
