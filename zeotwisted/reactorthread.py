"""A Twisted reactor of our own, in a thread of its own.

A process may have one *installed* reactor, and it belongs to the application: Twisted, asyncio, a
test runner. A blocking storage needs an event loop beside it. Twisted does not advertise several
reactors in one process, therefore whatever that takes is in this module alone:

- `run` must not install signal handlers, and must not call its thread the "I/O thread";
- nothing that reaches for the installed reactor may be used on ours: `deferToThread`,
  `HostnameEndpoint`, `wrapClientTLS`, and everything with a default ``reactor`` or ``clock``.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from importlib import import_module
from typing import Any, Protocol
from weakref import WeakSet, finalize

from twisted.python.threadable import isInIOThread

_log = logging.getLogger("zeotwisted.client")

__all__ = ["Forkable", "OwnReactor", "ReactorThread", "call_after_fork", "release", "shared"]

#: How long (seconds) the end of a thread may take.
_STOP_TIMEOUT = 5.0


_REACTORS = (
    ("epollreactor", "EPollReactor"),
    ("pollreactor", "PollReactor"),
    ("selectreactor", "SelectReactor"),
)


def _make_reactor() -> Any:
    """Return a new reactor of the class that Twisted would choose on this platform."""
    for module, name in _REACTORS:
        try:
            make = getattr(import_module(f"twisted.internet.{module}"), name)
        except ImportError:
            # This platform has no such thing.
            continue
        reactor = make()
        reactor._registerAsIOThread = False
        return reactor
    raise RuntimeError("Twisted has no reactor for this platform")


class _NobodyToWake:
    """The waker of a reactor that has stopped for good."""

    def wakeUp(self) -> None:
        """Do nothing."""


def _close_files(reactor: Any) -> None:
    """Close what a stopped reactor keeps open for another run, which there will not be."""
    waker, reactor.waker = reactor.waker, _NobodyToWake()
    reactor.removeReader(waker)
    reactor._internalReaders.discard(waker)
    poller: Any = getattr(reactor, "_poller", None)
    if hasattr(poller, "close"):
        poller.close()
    # Another thread may be about to write to the waker's pipe, and the number of a closed file may
    # be another file's by then. So the pipe is closed when nobody refers to the waker any more.
    finalize(waker, _close_pipe, waker.i, waker.o).atexit = False
    del waker.fileno  # a function that refers to the waker


def _close_pipe(*ends: int) -> None:
    for end in ends:
        os.close(end)


class ReactorThread:
    """A private reactor that runs in a daemon thread.

    :ivar reactor: the reactor.
    """

    def __init__(self, name: str) -> None:
        self.reactor = _make_reactor()
        self._ident: int | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; return when the reactor runs."""
        running = threading.Event()
        self.reactor.callWhenRunning(running.set)
        self._thread.start()
        running.wait()

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            self.reactor.run(installSignalHandlers=False)
        finally:
            # The number may soon be another thread's.
            self._ident = None
            _close_files(self.reactor)

    def is_current(self) -> bool:
        """Whether the caller is the reactor's thread."""
        return threading.get_ident() == self._ident

    def is_running(self) -> bool:
        """Whether somebody would answer."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop the reactor; return when its thread has ended."""
        if self._thread.is_alive():
            self.reactor.callFromThread(self._stop)
            if not self.is_current():
                self._thread.join(_STOP_TIMEOUT)

    def _stop(self) -> None:
        if self.reactor.running:
            self.reactor.stop()


class OwnReactor:
    """An application's reactor, where the application wants a storage to use it.

    It has the interface of `ReactorThread`.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._ident: int | None = None
        # Not callWhenRunning, which calls in this thread if it runs.
        reactor.callFromThread(self._started)

    def _started(self) -> None:
        self._ident = threading.get_ident()

    def is_current(self) -> bool:
        """Whether the caller is the reactor's thread."""
        if self._ident is None:
            # It has not said so yet, but most reactors are the installed one.
            return self.is_running() and bool(isInIOThread())
        return threading.get_ident() == self._ident

    def is_running(self) -> bool:
        """Whether somebody would answer."""
        return bool(self.reactor.running)


class Forkable(Protocol):
    """Something that has to do with a reactor thread and may be inherited by a child process."""

    def forked(self) -> None:
        """This is the child process now: threads, and who held which lock, are gone."""


_lock = threading.Lock()
_shared: ReactorThread | None = None
_users = 0
_forkables: WeakSet[Forkable] = WeakSet()


def shared() -> ReactorThread:
    """Return the process's private reactor, started if need be; `release` it after use."""
    global _shared, _users
    with _lock:
        if _shared is None:
            _shared = ReactorThread("zeotwisted client reactor")
            _shared.start()
        _users += 1
        return _shared


def release(thread: ReactorThread) -> None:
    """Give back what `shared` returned; the last one stops it."""
    global _shared, _users
    with _lock:
        if thread is not _shared:
            return
        _users -= 1
        if _users > 0:
            return
        _shared = None
    thread.stop()


def call_after_fork(forkable: Forkable) -> None:
    """Call `forkable.forked()` in child processes, as long as somebody else refers to it."""
    _forkables.add(forkable)


def _after_fork() -> None:
    global _lock, _shared, _users
    _lock = threading.Lock()
    _shared = None
    _users = 0
    for forkable in list(_forkables):
        try:
            forkable.forked()
        except Exception:
            # The others must not go on with the parent's thread.
            _log.exception("%r cannot be used in this child process", forkable)


def _at_exit() -> None:
    # Threads that wait for an answer are told that there will be none.
    thread = _shared
    if thread is not None:
        thread.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
