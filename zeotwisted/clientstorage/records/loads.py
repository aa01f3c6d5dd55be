"""The answers to loads, on their way into the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from zeotwisted.exceptions import UnrecognizedResult

from .coherence import Coherence

__all__ = ["into_cache", "keep_many", "load"]


def load(coherence: Coherence, oid: bytes) -> Deferred[Any]:
    """Return a Deferred for the answer to a load, which goes into the cache."""
    return Deferred().addCallback(into_cache(coherence, oid))


def into_cache(coherence: Coherence, oid: bytes) -> Callable[[Any], Any]:
    """Return what puts the answer to a load into the cache, and returns it. It has to be called in
    the turn of the answer, in any thread."""

    def loaded(result: Any) -> Any:
        if result is not None and not _is_revision(result):
            raise UnrecognizedResult("loadBefore", result)
        coherence.loaded(oid, result)
        return result

    return loaded


def keep_many(coherence: Coherence, oids: Sequence[bytes], results: Any) -> int:
    """Put the answer to a load of many records into the cache; return of how many of `oids`, the
    first ones, it is. To be called as what `into_cache` returns."""
    if type(results) is not tuple or not 0 < len(results) <= len(oids):
        raise UnrecognizedResult("loadManyBefore", results)
    revisions = []
    for oid, result in zip(oids, results):  # noqa: B905 - of the rest it says nothing
        if _is_revision(result):
            revisions.append((oid, result))
        elif result is not None and result is not False:
            raise UnrecognizedResult("loadManyBefore", result)
    coherence.loaded_many(revisions)
    return len(results)


def _is_revision(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) == 3
        and type(value[0]) is bytes
        and type(value[1]) is bytes
        and (value[2] is None or type(value[2]) is bytes)
    )
