"""The answers to loads, on their way into the cache."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from zeotwisted.exceptions import UnrecognizedResult

from .coherence import Coherence

__all__ = ["load"]


def load(coherence: Coherence, oid: bytes) -> Deferred[Any]:
    """Return a Deferred for the answer to a load, which goes into the cache."""

    def loaded(result: Any) -> Any:
        if result is not None and not _is_revision(result):
            raise UnrecognizedResult("loadBefore", result)
        coherence.loaded(oid, result)
        return result

    return Deferred().addCallback(loaded)


def _is_revision(value: Any) -> bool:
    return (
        type(value) is tuple
        and len(value) == 3
        and type(value[0]) is bytes
        and type(value[1]) is bytes
        and (value[2] is None or type(value[2]) is bytes)
    )
