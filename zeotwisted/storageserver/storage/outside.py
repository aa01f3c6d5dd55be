"""Receives what storages and engines tell of transactions from outside, in any thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ZODB.interfaces import IStorageWrapper
from ZODB.serialize import referencesf
from zope.interface import implementer

from ..engine import OwnCommit
from .publications import Publications
from .resolution import UNRESOLVABLE

__all__ = ["Database", "SharedNews"]


@implementer(IStorageWrapper)
class Database:
    """The storage's database. The storage notifies it of transactions from outside.

    :param lost_track: called when the storage does not know what has changed.
    :param resolves: whether the storage may resolve conflicts in its own way.
    """

    def __init__(
        self, publications: Publications, lost_track: Callable[[], object], resolves: bool
    ) -> None:
        self._publications = publications
        self._lost_track = lost_track
        self._resolves = resolves

    def invalidate(self, transaction_id: bytes, oids: Sequence[bytes]) -> None:
        self._publications.add(transaction_id, list(oids))

    def invalidateCache(self) -> None:
        self._lost_track()

    references = staticmethod(referencesf)

    def transform_record_data(self, data: bytes) -> bytes:
        return data

    def untransform_record_data(self, data: bytes) -> bytes:
        # RelStorage asks for it before it loads a class to resolve a conflict, and never else.
        return data if self._resolves else UNRESOLVABLE


class SharedNews:
    """See `engine.News`. The functions may be called in any thread."""

    def __init__(
        self,
        publications: Publications,
        lost_track: Callable[[], object],
        suspend: Callable[[str], object],
        resume: Callable[[], object],
    ) -> None:
        self._publications = publications
        self._lost_track = lost_track
        self._suspend = suspend
        self._resume = resume

    def committed(self, tid: bytes, oids: Sequence[bytes], own: OwnCommit | None) -> None:
        self._publications.add(tid, oids, own)

    def lost_track(self) -> None:
        self._lost_track()

    def cut_off(self, reason: str) -> None:
        self._suspend(reason)

    def restored(self) -> None:
        self._resume()
