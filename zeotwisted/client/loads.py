"""The answers to loads, on their way into the cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from zeotwisted.exceptions import UnrecognizedResult

from .coherence import Coherence

__all__ = ["into_cache", "load"]


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


def _is_revision(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) == 3
        and type(value[0]) is bytes
        and type(value[1]) is bytes
        and (value[2] is None or type(value[2]) is bytes)
    )
