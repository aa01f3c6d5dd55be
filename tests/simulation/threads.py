"""Locks and threads of which the scheduler decides.

`install` puts them in the place of Python's, for the whole process and for ever, and does the same
with the clock and with random numbers. Call it before anything that uses threads is imported:
``from threading import Lock`` keeps what it finds.
"""

from __future__ import annotations

import os
import queue
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .scheduler import Scheduler, Task

__all__ = ["Thread", "current_process", "install", "simulate"]

_scheduler: Scheduler | None = None
_main_ident = threading.get_ident()
_main_thread = threading.main_thread()
_threads: dict[int, Thread] = {}
_real_urandom = os.urandom
_real_time = {name: getattr(time, name) for name in ("time", "monotonic", "perf_counter", "sleep")}


def _current() -> Task | None:
    return None if _scheduler is None else _scheduler.current


def current_process() -> Any:
    """Return the process whose code runs, or None."""
    task = _current()
    return None if task is None else task.owner


def _pause() -> None:
    if _scheduler is not None:
        _scheduler.pause()


class Lock:
    """See `threading.Lock`."""

    def __init__(self) -> None:
        self._locked = False
        self._waiting: list[Task] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """See `threading.Lock`."""
        _pause()
        if self._locked and blocking and timeout != 0:
            self._wait(None if timeout < 0 else timeout)
        if self._locked:
            return False
        self._locked = True
        return True

    def _wait(self, timeout: float | None) -> None:
        task = _current()
        if _scheduler is None or task is None:
            raise RuntimeError("nothing can release this lock")
        end = None if timeout is None else _scheduler.now + timeout
        if end is not None:
            _scheduler.call_at(end, lambda: _scheduler.wake(task))
        self._waiting.append(task)
        try:
            while self._locked and (end is None or _scheduler.now < end):
                _scheduler.block()
        finally:
            self._waiting.remove(task)

    def release(self) -> None:
        """See `threading.Lock`."""
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        self._locked = False
        if self._waiting and _scheduler is not None:
            # Any of them may get the lock. All others wait again.
            for task in _scheduler.random.sample(self._waiting, len(self._waiting)):
                _scheduler.wake(task)
        _pause()

    def locked(self) -> bool:
        """See `threading.Lock`."""
        return self._locked

    def _at_fork_reinit(self) -> None:
        self._locked = False
        self._waiting = []

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *details: object) -> None:
        self.release()


class RLock:
    """See `threading.RLock`."""

    def __init__(self) -> None:
        self._block = Lock()
        self._owner: int | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """See `threading.RLock`."""
        me = get_ident()
        if self._owner == me:
            self._count += 1
            return True
        if not self._block.acquire(blocking, timeout):
            return False
        self._owner, self._count = me, 1
        return True

    def release(self) -> None:
        """See `threading.RLock`."""
        if self._owner != get_ident():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None
            self._block.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *details: object) -> None:
        self.release()

    def _at_fork_reinit(self) -> None:
        self._block._at_fork_reinit()
        self._owner, self._count = None, 0

    # For `threading.Condition`.

    def _acquire_restore(self, state: tuple[int, int | None]) -> None:
        self._block.acquire()
        self._count, self._owner = state

    def _release_save(self) -> tuple[int, int | None]:
        state = (self._count, self._owner)
        self._count, self._owner = 0, None
        self._block.release()
        return state

    def _is_owned(self) -> bool:
        return self._owner == get_ident()


class Thread:
    """See `threading.Thread`. It belongs to the process that starts it."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        self._target = target
        self._args = tuple(args)
        self._kwargs = dict(kwargs or {})
        self._task: Task | None = None
        self._has_ended = False
        self._joined = threading.Condition()
        self.name = name or f"thread {id(self)}"
        self.daemon = bool(daemon)

    @property
    def ident(self) -> int | None:
        """See `threading.Thread`."""
        return None if self._task is None else self._task.ident

    def start(self) -> None:
        """See `threading.Thread`."""
        self.start_in(current_process())

    def start_in(self, process: Any) -> None:
        """Start as a thread of another process."""
        assert _scheduler is not None
        self._task = _scheduler.spawn(self._run, self.name, process)
        _threads[self._task.ident] = self

    def _run(self) -> None:
        try:
            self.run()
        finally:
            assert self._task is not None
            _threads.pop(self._task.ident, None)
            with self._joined:
                self._has_ended = True
                self._joined.notify_all()

    def run(self) -> None:
        """See `threading.Thread`."""
        if self._target is not None:
            self._target(*self._args, **self._kwargs)

    def is_alive(self) -> bool:
        """See `threading.Thread`."""
        return self._task is not None and not self._has_ended

    def join(self, timeout: float | None = None) -> None:
        """See `threading.Thread`."""
        with self._joined:
            self._joined.wait_for(lambda: not self.is_alive(), timeout)


class SimpleQueue:
    """See `queue.SimpleQueue`."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._filled = threading.Condition()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """See `queue.SimpleQueue`."""
        with self._filled:
            self._items.append(item)
            self._filled.notify()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """See `queue.SimpleQueue`."""
        with self._filled:
            if not self._filled.wait_for(lambda: self._items, timeout if block else 0):
                raise queue.Empty
            return self._items.popleft()

    def qsize(self) -> int:
        """See `queue.SimpleQueue`."""
        return len(self._items)

    def empty(self) -> bool:
        """See `queue.SimpleQueue`."""
        return not self._items


def get_ident() -> int:
    """See `threading.get_ident`."""
    task = _current()
    return _main_ident if task is None else task.ident


def current_thread() -> Any:
    """See `threading.current_thread`."""
    return _threads.get(get_ident(), _main_thread)


def _enumerate() -> list[Any]:
    return [_main_thread, *_threads.values()]


def _clock(name: str) -> Callable[[], float]:
    real = _real_time[name]
    return lambda: real() if _scheduler is None else _scheduler.now


def _sleep(seconds: float) -> None:
    if _current() is None:
        _real_time["sleep"](seconds)
    else:
        assert _scheduler is not None
        _scheduler.sleep(seconds)


def _urandom(size: int) -> bytes:
    assert _scheduler is not None
    return _scheduler.random.randbytes(size)


def install() -> None:
    """Replace Python's threads, locks and clock.

    :raises RuntimeError: it is too late.
    """
    late = {"twisted", "ZODB", "transaction", "zeotwisted"} & set(sys.modules)
    if late:
        raise RuntimeError(f"{', '.join(late)}: imported before the simulation of threads")
    import _thread

    _thread.allocate_lock = Lock
    _thread.get_ident = get_ident
    threading._allocate_lock = Lock
    threading.Lock = Lock
    threading.RLock = threading._RLock = RLock
    threading.Thread = Thread
    threading.get_ident = get_ident
    threading.current_thread = threading.currentThread = current_thread
    threading.enumerate = _enumerate
    queue.SimpleQueue = SimpleQueue
    for name in ("time", "monotonic", "perf_counter"):
        setattr(time, name, _clock(name))
    time.sleep = _sleep
    # It keeps its values with the current thread; the one that is written in C asks the system.
    import _threading_local

    threading.local = _threading_local.local


def simulate(scheduler: Scheduler | None) -> None:
    """Let a scheduler decide from now on; None for the system."""
    global _scheduler
    _scheduler = scheduler
    if scheduler is None:
        os.urandom = random._urandom = _real_urandom
    else:
        random.seed(scheduler.random.random())
        os.urandom = random._urandom = _urandom
