"""A Twisted reactor of our own, in a thread of its own.

A process may have one *installed* reactor, and it belongs to the application: Twisted, asyncio, a
test runner. A blocking storage needs an event loop beside it. Twisted does not advertise several
reactors in one process, therefore whatever that takes is in this module alone:

- `run` must not install signal handlers, and must not call its thread the "I/O thread";
- nothing that reaches for the installed reactor may be used on ours: `deferToThread`,
  `HostnameEndpoint`, `wrapClientTLS`, and everything with a default ``reactor`` or ``clock``.

Where gevent has replaced threads by greenlets, the reactor runs in a greenlet, and its poll is one
that lets the others run; see `zeotwisted.reactor.greenlets`.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections import deque
from importlib import import_module
from typing import Any, Protocol
from weakref import WeakSet, finalize

from twisted.python.threadable import isInIOThread

from . import greenlets

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
    """Return a new reactor of the class that Twisted would choose on this platform.

    :raises ClientStorageError: a library has replaced threads in a way that we cannot live with.
    """
    greenlets.check()
    for module, name in _REACTORS[1:] if greenlets.are_threads() else _REACTORS:
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
    _close_poller(reactor)
    # Another thread may be about to write to the waker's pipe, and the number of a closed file may
    # be another file's by then. So the pipe is closed when nobody refers to the waker any more.
    finalize(waker, _close_pipe, waker.i, waker.o).atexit = False
    del waker.fileno  # a function that refers to the waker


def _close_poller(reactor: Any) -> None:
    poller: Any = getattr(reactor, "_poller", None)
    if hasattr(poller, "close"):
        poller.close()


def _close_pipe(*ends: int) -> None:
    for end in ends:
        os.close(end)


def _close_copies(reactor: Any) -> None:
    """In a child process: close our copies of the files of the parent's reactor.

    The parent's connections end when the parent closes them, only if nobody else has them open. No
    file may be removed from the poller: parent and child share what it knows.
    """
    waker, reactor.waker = reactor.waker, _NobodyToWake()
    if isinstance(waker, _NobodyToWake):
        return
    _close_poller(reactor)
    _close_pipe(waker.i, waker.o)
    selectables = getattr(reactor, "_selectables", None)
    for selectable in list(selectables.values() if selectables else reactor.getReaders()):
        handle = getattr(selectable, "socket", None)
        if handle is not None:
            handle.close()
    if selectables:
        selectables.clear()


#: All that there are, for child processes to let go of.
_threads: WeakSet[ReactorThread] = WeakSet()


class ReactorThread:
    """A private reactor that runs in a daemon thread.

    :ivar reactor: the reactor.
    """

    def __init__(self, name: str) -> None:
        self.reactor = _make_reactor()
        self._ident: int | None = None
        self._started = threading.Event()
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        _threads.add(self)

    def start(self) -> None:
        """Start the thread; return when the reactor runs.

        :raises RuntimeError: there can be no more threads.
        """
        self.reactor.callWhenRunning(self._started.set)
        try:
            self._thread.start()
            self._started.wait()
        except BaseException:
            if self._thread.is_alive():
                self.stop()
            else:
                _close_files(self.reactor)
            raise

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            self.reactor.run(installSignalHandlers=False)
        finally:
            if self._abandoned:
                # A greenlet in a child process. `threading` does not know it, so it must not end.
                threading.Event().wait()
            # The number may soon be another thread's.
            self._ident = None
            # Whatever has happened, nobody must wait for more.
            self._started.set()
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

    def abandon(self) -> None:
        """In a child process: give up the reactor, which is the parent's."""
        self._abandoned = True
        # A thread is not here any more, but a greenlet is: it leaves the loop when it is woken.
        self.reactor._started = False
        _close_copies(self.reactor)


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
        """After fork: the threads, and those that held the locks, do not exist in the child."""


_lock = threading.Lock()
_shared: ReactorThread | None = None
_users = 0
# What was given back, and not yet subtracted from the users.
_released: deque[ReactorThread] = deque()
_forkables: WeakSet[Forkable] = WeakSet()


def shared() -> ReactorThread:
    """Return the process's private reactor, started if need be; `release` it after use.

    :raises ClientStorageError: a library has replaced threads in a way that we cannot live with.
    """
    global _shared, _users
    with _lock:
        if _shared is None or not _shared.is_running():
            _shared, _users = None, 0
            thread = ReactorThread("zeotwisted client reactor")
            thread.start()
            _shared = thread
        else:
            thread = _shared
        _users += 1
    _settle()
    return thread


def release(thread: ReactorThread) -> None:
    """Give back what `shared` returned; the last one stops it.

    The garbage collector may call this in the midst of anything, therefore it does not wait for
    the lock: the thread that holds the lock does the rest.
    """
    _released.append(thread)
    _settle()


def _settle() -> None:
    """Stop the reactor if everyone has released it."""
    while _released and _lock.acquire(blocking=False):
        try:
            idle = _subtract()
        finally:
            _lock.release()
        if idle is not None:
            idle.stop()


def _subtract() -> ReactorThread | None:
    """Take note of what was released; return the reactor that nobody uses now, if any."""
    global _shared, _users
    while _released:
        # A reactor that was stopped by somebody else may have had a successor.
        if _released.popleft() is _shared:
            _users -= 1
    if _shared is None or _users > 0:
        return None
    idle, _shared = _shared, None
    return idle


def call_after_fork(forkable: Forkable) -> None:
    """Call `forkable.forked()` in child processes, as long as somebody else refers to it."""
    _forkables.add(forkable)


def _after_fork() -> None:
    global _lock, _shared, _users
    _lock = threading.Lock()
    _shared = None
    _users = 0
    _released.clear()
    for forkable in list(_forkables):
        try:
            forkable.forked()
        except Exception:
            # The others must not go on with the parent's thread.
            _log.exception("%r cannot be used in this child process", forkable)
    for thread in list(_threads):
        thread.abandon()
    _threads.clear()


def _at_exit() -> None:
    # Threads that wait for an answer are told that there will be none.
    thread = _shared
    if thread is not None:
        thread.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
