"""The threads that work for a served storage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

__all__ = ["InThread", "Threads"]

#: Runs a function in another thread, and returns a Deferred of its result.
InThread: TypeAlias = "Callable[..., Deferred[Any]]"


class Threads(NamedTuple):
    """The functions that run code in another thread."""

    #: The reactor, for timers.
    clock: IReactorTime
    #: Runs a function in the reactor's thread; may be called in any thread.
    call_from_thread: Callable[..., Any]
    #: Runs a function in the thread of the storage's commits.
    commit_in_thread: InThread
    #: Runs a slow function in some thread.
    in_thread: InThread
    #: Runs a load in some thread. Slow functions do not keep loads waiting.
    load_in_thread: InThread
