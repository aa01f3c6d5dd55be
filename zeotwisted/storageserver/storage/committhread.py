"""The thread in which a storage's transactions are voted and finished."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["CommitThread"]

_Job: TypeAlias = "tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]"


class CommitThread:
    """Does one thing after the other, and tells the reactor how each ended.

    A commit goes to and fro between this thread and the reactor's, so the way there and back is
    kept short: a pool of threads takes longer for it than a storage for a small vote.

    :param name: the thread's.
    :param call_from_thread: runs a function in the reactor's thread; may be called in any.
    """

    def __init__(self, name: str, call_from_thread: Callable[..., Any]) -> None:
        self._name = name
        self._call_from_thread = call_from_thread
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Return a Deferred of what `function` returns or raises; in the reactor's thread."""
        if self._thread is None:
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        done: Deferred[Any] = Deferred()
        self._jobs.put((done, function, args))
        return done

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._do(*job)
            # Nothing of a transaction is kept until the next one comes.
            del job

    def _do(self, done: Deferred[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            result = function(*args)
        except BaseException:
            self._call_from_thread(done.errback, Failure())
        else:
            self._call_from_thread(done.callback, result)

    def stop(self) -> None:
        """Do what there is to do, then end; in any thread but this and the reactor's."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
