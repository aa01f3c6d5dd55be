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
    """Runs functions one after the other, and reports each result to the reactor's thread.

    Each step of a commit changes from the reactor's thread to this one and back. A thread pool of
    Twisted takes longer for that than a storage takes for a small vote.

    :param name: the name of the thread.
    :param call_from_thread: runs a function in the reactor's thread; may be called in any thread.
    """

    def __init__(self, name: str, call_from_thread: Callable[..., Any]) -> None:
        self._name = name
        self._call_from_thread = call_from_thread
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None

    def run(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run a function in the thread; return a Deferred of its result or exception.

        Call this in the reactor's thread. The Deferred fires there.
        """
        if self._thread is None:
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        done: Deferred[Any] = Deferred()
        self._jobs.put((done, function, args))
        return done

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._do(*job)
            # Otherwise this thread would keep the last transaction in memory until the next one.
            del job

    def _do(self, done: Deferred[Any], function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            result = function(*args)
        except BaseException:
            self._call_from_thread(done.errback, Failure())
        else:
            self._call_from_thread(done.callback, result)

    def stop(self) -> None:
        """Run the functions that wait, then end the thread. Wait for the end.

        Do not call this in the reactor's thread, which it would block, or in the commit thread.
        """
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
