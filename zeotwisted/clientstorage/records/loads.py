"""Puts the answers to loads into the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from zeotwisted.exceptions import UnrecognizedResult

from .coherence import Coherence

__all__ = ["all_into_cache", "into_cache", "keep_many", "load", "revisions_of"]


def load(coherence: Coherence, oid: bytes) -> Deferred[Any]:
    """Return a Deferred for the answer to a load. Its first callback caches the answer."""
    return Deferred().addCallback(into_cache(coherence, oid))


def into_cache(coherence: Coherence, oid: bytes) -> Callable[[Any], Any]:
    """Return a function that puts the answer to a load into the cache, and returns it.

    It may be called in any thread, and must be called before the next message is processed.
    """

    def loaded(result: Any) -> Any:
        if result is not None and not _is_revision(result):
            raise UnrecognizedResult("loadBefore", result)
        coherence.loaded(oid, result)
        return result

    return loaded


def keep_many(coherence: Coherence, oids: Sequence[bytes], results: Any) -> int:
    """Put the answer to a load of many records into the cache. Call it as the function of
    `into_cache`.

    :return: how many records the answer has. It is about the first ones of `oids`.
    """
    coherence.loaded_many(revisions_of("loadManyBefore", oids, results))
    return len(results)


def revisions_of(
    name: str, oids: Sequence[bytes], results: Any
) -> list[tuple[bytes, tuple[bytes, bytes, bytes | None]]]:
    """Return the oids and revisions that the answer to a load of many records has.

    :param name: of the call.
    :raises UnrecognizedResult: it is no such answer.
    """
    if type(results) is not tuple or not 0 < len(results) <= len(oids):
        raise UnrecognizedResult(name, results)
    revisions = []
    for oid, result in zip(oids, results):  # noqa: B905 - the answer may be shorter than `oids`
        if _is_revision(result):
            revisions.append((oid, result))
        elif result is not None and result is not False:
            raise UnrecognizedResult(name, result)
    return revisions


def all_into_cache(coherence: Coherence, oids: Sequence[bytes], results: Any) -> Any:
    """Do what `keep_many` does, and return the answer."""
    keep_many(coherence, oids, results)
    return results


def _is_revision(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) == 3
        and type(value[0]) is bytes
        and type(value[1]) is bytes
        and (value[2] is None or type(value[2]) is bytes)
    )
