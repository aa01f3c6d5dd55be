"""A private Twisted reactor in a thread of its own.

A process has one *installed* reactor, which belongs to the application: to Twisted, asyncio or a
test runner. A blocking storage needs a second event loop. Twisted does not document several
reactors in one process, so only this module knows what that requires:

- `run` must not install signal handlers, and must not register its thread as the "I/O thread".
- Code that uses the installed reactor must not be used with the private one: `deferToThread`,
  `HostnameEndpoint`, `wrapClientTLS`, and everything with a default ``reactor`` or ``clock``.

Where gevent has replaced threads by greenlets, the reactor runs in a greenlet and uses gevent's
poll, which runs other greenlets while it waits; see `zeotwisted.reactor.greenlets`.
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

#: How long (seconds) `ReactorThread.stop` waits for the thread to end.
_STOP_TIMEOUT = 5.0


_REACTORS = (
    ("epollreactor", "EPollReactor"),
    ("pollreactor", "PollReactor"),
    ("selectreactor", "SelectReactor"),
)


def _make_reactor() -> Any:
    """Return a new reactor of the class that Twisted would choose on this platform.

    :raises ClientStorageError: see `greenlets.check`.
    """
    greenlets.check()
    for module, name in _REACTORS[1:] if greenlets.are_threads() else _REACTORS:
        try:
            make = getattr(import_module(f"twisted.internet.{module}"), name)
        except ImportError:
            # For example epoll, which only Linux has.
            continue
        reactor = make()
        reactor._registerAsIOThread = False
        return reactor
    raise RuntimeError("Twisted has no reactor for this platform")


class _NobodyToWake:
    """The waker of a reactor that has stopped and does not run again."""

    def wakeUp(self) -> None:
        """Do nothing."""


def _close_files(reactor: Any) -> None:
    """Close the files that a stopped reactor keeps open for another run."""
    waker, reactor.waker = reactor.waker, _NobodyToWake()
    reactor.removeReader(waker)
    reactor._internalReaders.discard(waker)
    _close_poller(reactor)
    # Close the pipe only when there is no reference to the waker any more. Another thread may be
    # about to write to it, and would write to another file if that had got the same number.
    finalize(waker, _close_pipe, waker.i, waker.o).atexit = False
    del waker.fileno  # a reference cycle, which delays that


def _close_poller(reactor: Any) -> None:
    poller: Any = getattr(reactor, "_poller", None)
    if hasattr(poller, "close"):
        poller.close()


def _close_pipe(*ends: int) -> None:
    for end in ends:
        os.close(end)


def _close_copies(reactor: Any) -> None:
    """After fork: close the child's copies of the files of the parent's reactor.

    While the child has a copy of a socket open, the connection does not end when the parent closes
    it. No file may be removed from the poller: parent and child share the poller's state.
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


#: All reactor threads, so that a child process can abandon them.
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

        :raises RuntimeError: the system cannot start another thread.
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
                # A greenlet in a child process. `threading` has no record of it there, so its end
                # would fail.
                threading.Event().wait()
            # The system may give the same number to another thread.
            self._ident = None
            # If `run` failed early, `start` would wait for ever.
            self._started.set()
            _close_files(self.reactor)

    def is_current(self) -> bool:
        """Whether the calling thread is the reactor's thread."""
        return threading.get_ident() == self._ident

    def is_running(self) -> bool:
        """Whether the reactor's thread is alive."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop the reactor; wait up to 5 seconds until its thread has ended.

        It does not wait in the reactor's thread.
        """
        if self._thread.is_alive():
            self.reactor.callFromThread(self._stop)
            if not self.is_current():
                self._thread.join(_STOP_TIMEOUT)

    def _stop(self) -> None:
        if self.reactor.running:
            self.reactor.stop()

    def abandon(self) -> None:
        """After fork: close the child's copy of the parent's reactor."""
        self._abandoned = True
        # A thread does not exist in the child, but a greenlet does: this ends its loop when it
        # wakes.
        self.reactor._started = False
        _close_copies(self.reactor)


class OwnReactor:
    """The application's reactor, if the application gives it to a storage.

    It has the interface of `ReactorThread`.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._ident: int | None = None
        # Not callWhenRunning: if the reactor runs, that calls `_started` in this thread.
        reactor.callFromThread(self._started)

    def _started(self) -> None:
        self._ident = threading.get_ident()

    def is_current(self) -> bool:
        """Whether the calling thread is the reactor's thread."""
        if self._ident is None:
            # `_started` has not run yet. Most applications give the installed reactor, whose
            # thread Twisted knows.
            return self.is_running() and bool(isInIOThread())
        return threading.get_ident() == self._ident

    def is_running(self) -> bool:
        """Whether the reactor runs."""
        return bool(self.reactor.running)


class Forkable(Protocol):
    """An object that uses a reactor thread, and that a child process may inherit."""

    def forked(self) -> None:
        """After fork: replace the locks; the threads that held them do not exist in the child."""


_lock = threading.Lock()
_shared: ReactorThread | None = None
_users = 0
# Reactors that were released and are not yet subtracted from the users.
_released: deque[ReactorThread] = deque()
_forkables: WeakSet[Forkable] = WeakSet()


def shared() -> ReactorThread:
    """Return the private reactor of the process; start it if necessary.

    The caller releases it with `release`.

    :raises ClientStorageError: see `greenlets.check`.
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
    """Release what `shared` returned. The last release stops the reactor.

    It never waits for the lock: the garbage collector may call it in a thread that holds the lock,
    which would deadlock. The thread that holds the lock completes the release.
    """
    _released.append(thread)
    _settle()


def _settle() -> None:
    """Stop the reactor if it has no user any more."""
    while _released and _lock.acquire(blocking=False):
        try:
            idle = _subtract()
        finally:
            _lock.release()
        if idle is not None:
            idle.stop()


def _subtract() -> ReactorThread | None:
    """Subtract the released reactors; return the reactor if it has no user any more."""
    global _shared, _users
    while _released:
        # If that reactor was stopped, `shared` may have started another one since.
        if _released.popleft() is _shared:
            _users -= 1
    if _shared is None or _users > 0:
        return None
    idle, _shared = _shared, None
    return idle


def call_after_fork(forkable: Forkable) -> None:
    """Call `forkable.forked()` in child processes. This keeps only a weak reference to it."""
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
            # The other objects must not go on with the parent's thread.
            _log.exception("%r cannot be used in this child process", forkable)
    for thread in list(_threads):
        thread.abandon()
    _threads.clear()


def _at_exit() -> None:
    # Without this, threads that wait for an answer would wait for ever.
    thread = _shared
    if thread is not None:
        thread.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
