"""Finds out whether a standby's storage is the beginning of its primary's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from hashlib import sha256
from typing import Any, NamedTuple

from ZODB.utils import p64, u64, z64

from zeotwisted.clientstorage import ChangedTransaction

from .copy import Copy

__all__ = ["Diverged", "check_history"]

#: How many of the last transactions are compared record by record.
_COMPARED = 10

#: How many transactions a message names.
_NAMED = 20

#: Reads the primary's transactions from one to another, with records or without.
Read = Callable[[bytes, bytes, bool], AsyncIterator[ChangedTransaction]]

#: Runs a slow function in a thread.
Run = Callable[..., Any]


class Diverged(Exception):
    """The storage is not the beginning of the primary's. The text says what to do.

    :ivar only_here: the transactions that only this storage has, after the last common one.
    """

    def __init__(self, what: str, only_here: list[bytes]) -> None:
        super().__init__(what)
        self.only_here = only_here


class _Content(NamedTuple):
    """What is compared of a transaction."""

    packed: bool
    #: Checksums of the records' data, by oid.
    records: dict[bytes, bytes]

    def agrees(self, other: _Content) -> bool:
        """Return whether both can be the same transaction; a pack may have removed records."""
        common = self.records.keys() & other.records.keys()
        if not (self.packed or other.packed) and self.records.keys() != other.records.keys():
            return False
        return all(self.records[oid] == other.records[oid] for oid in common)


def _content(packed: bool, records: Iterable[Any]) -> _Content:
    return _Content(
        packed,
        {
            each.oid: sha256(b"-" if each.data is None else b"+" + each.data).digest()
            for each in records
        },
    )


async def check_history(copy: Copy, read: Read, run: Run) -> None:
    """Compare the last transactions of a standby with those of its primary.

    :raises Diverged: the standby must not follow.
    """
    ours = await run(_contents, copy, _COMPARED)
    if not ours:
        return
    first, last = min(ours), max(ours)
    theirs = {
        each.tid: _content(each.is_packed, each.records or ())
        async for each in read(_before(first), last, True)
    }
    if last not in theirs:
        raise await _lacks(copy, read, run, last)
    for tid in sorted(ours.keys() | theirs.keys()):
        if tid not in ours:
            raise Diverged(
                f"the primary has transaction {tid.hex()}, and this storage has later ones and not "
                f"this one; {_REMEDY}",
                [],
            )
        # What the primary has packed away is no difference.
        packed = any(theirs[each].packed for each in theirs if each > tid)
        if tid not in theirs and not packed:
            raise await _lacks(copy, read, run, tid)
        if tid in theirs and not ours[tid].agrees(theirs[tid]):
            raise Diverged(
                f"transaction {tid.hex()} is another one at the primary; {_REMEDY}", [tid]
            )


_REMEDY = (
    "if the primary is the right one, move this storage away, and start the standby with a copy of "
    "the primary's, or with none"
)


def _contents(copy: Copy, count: int) -> dict[bytes, _Content]:
    tids = copy.tids(count)
    if tids == [z64]:
        return {}
    return {
        each.tid: _content(each.status in ("p", b"p"), each)
        for each in copy.transactions(tids[0], tids[-1])
    }


def _before(tid: bytes) -> bytes:
    return p64(u64(tid) - 1)


async def _lacks(copy: Copy, read: Read, run: Run, tid: bytes) -> Diverged:
    """Return the error for a primary that lacks a transaction; name all that it lacks."""
    only_here = await _only_here(copy, read, run)
    names = ", ".join(each.hex() for each in only_here[:_NAMED])
    more = len(only_here) - _NAMED
    rest = f" and {more} more" if more > 0 else ""
    return Diverged(
        f"this storage has {len(only_here)} transactions that the primary does not have: "
        f"{names}{rest}; they may be commits that were answered before a failover, or the primary "
        f"was packed meanwhile; {_REMEDY}",
        only_here or [tid],
    )


async def _only_here(copy: Copy, read: Read, run: Run) -> list[bytes]:
    """Return the transactions after the last common one."""
    count = 10 * _COMPARED
    while True:
        ours = await run(copy.tids, count)
        theirs = {each.tid async for each in read(_before(ours[0]), ours[-1], False)}
        if theirs.intersection(ours) or len(ours) < count:
            return [tid for tid in ours if tid not in theirs]
        count *= 10
