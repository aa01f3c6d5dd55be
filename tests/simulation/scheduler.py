"""Decides which task goes on, and what the time is.

A task is a greenlet. It runs until it blocks or pauses; then the scheduler chooses the next one.
Time moves on only if no task is ready, apart from a microsecond for each step.

In some worlds any task that is ready may be next. In others each task has a priority, and the one
with the highest runs until it has to wait; now and then a task falls behind all others. Some races
need the one, some the other. A task may also lose its processor for a while, up to some seconds.
"""

from __future__ import annotations

import heapq
import traceback
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from greenlet import getcurrent, greenlet

__all__ = ["Deadlock", "Scheduler", "Task"]

#: The time at which worlds begin, in seconds since 1970. It is later than today.
_BEGINNING = 2_000_000_000.0

#: How much time (seconds) a step takes.
_STEP = 1e-6

#: How often a task that could go on lets others go first: rarely in some worlds, often in others.
_PAUSES = (0.05, 0.15, 0.5)

#: How often it loses its processor then, and for how long (seconds, as powers of ten).
_ABSENCES = (0.0, 0.003, 0.03)
_ABSENCE = (-4.0, 0.5)

#: How often the task with the highest priority falls behind; None: there are no priorities.
_FALLS = (None, None, 0.003, 0.03)


class Deadlock(Exception):
    """Tasks wait, and nothing will ever happen."""


class Task:
    """Code that runs on its own, like a thread.

    :ivar owner: the process that it belongs to, or None.
    :ivar ended: whether it has returned, or belongs to a process that was killed.
    """

    _idents = count(1_000_000)

    def __init__(
        self, scheduler: Scheduler, run: Callable[[], None], name: str, owner: Any
    ) -> None:
        self.ident = next(self._idents)
        self.name = name
        self.owner = owner
        self.ended = False
        self.ready = False
        self.interrupted = False
        self.priority = scheduler.random.random()
        self.greenlet = greenlet(run, parent=scheduler.hub)

    def where(self) -> str:
        """Return the place at which the task waits, as lines of a traceback."""
        frame = self.greenlet.gr_frame
        return "".join(traceback.format_stack(frame)) if frame is not None else "not begun\n"


class Scheduler:
    """All tasks, timers and random decisions of a world.

    :ivar now: seconds since 1970.
    :ivar steps: how many times a task was continued that had waited for something.
    :ivar absences: how often an interrupted task loses its processor for a while.
    :ivar before_step: is called before each step; it may kill processes.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._pauses = self.random.choice(_PAUSES)
        self.absences = self.random.choice(_ABSENCES)
        self._falls = self.random.choice(_FALLS)
        self.now = _BEGINNING
        self.steps = 0
        self.hub = getcurrent()
        self.current: Task | None = None
        self.tasks: list[Task] = []
        self.before_step: Callable[[], None] = lambda: None
        self._ready: list[Task] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._stops = False

    def spawn(self, run: Callable[[], None], name: str, owner: Any = None) -> Task:
        """Return a new task. It begins when it is chosen."""
        task = Task(self, run, name, owner)
        self.tasks.append(task)
        self.wake(task)
        return task

    def wake(self, task: Task) -> None:
        """Make a task ready, if it lives and is not."""
        if not task.ended and not task.ready:
            task.ready = True
            self._ready.append(task)

    def call_at(self, time: float, function: Callable[[], None]) -> None:
        """Call `function` at a time. It must not block."""
        heapq.heappush(self._timers, (time, next(self._numbers), function))

    def call_after(self, delay: float, function: Callable[[], None]) -> None:
        """Call `function` after a number of seconds. It must not block."""
        self.call_at(self.now + delay, function)

    # In a task.

    def block(self) -> None:
        """Wait until the running task is woken. It may be woken without a reason."""
        if self.current is None:
            raise RuntimeError("only a task can wait")
        self.hub.switch()

    def pause(self) -> None:
        """Let other tasks go first, at random."""
        if self.current is not None and self.random.random() < self._pauses:
            self.interrupt()
            self.steps += 1

    def interrupt(self) -> None:
        """Let other tasks go first."""
        if self.current is None:
            return
        self.current.interrupted = True
        if self.absences and self.random.random() < self.absences:
            self.sleep(10 ** self.random.uniform(*_ABSENCE))
        else:
            self.wake(self.current)
            self.hub.switch()

    def sleep(self, seconds: float) -> None:
        """Let time go by."""
        task, end = self.current, self.now + seconds
        assert task is not None
        self.call_at(end, lambda: self.wake(task))
        while self.now < end:
            self.block()

    # Outside.

    def kill(self, owner: Any) -> None:
        """End all tasks of a process, wherever they are. No code of theirs runs any more."""
        for task in self.tasks:
            if task.owner is owner:
                task.ended = True
        self._ready = [task for task in self._ready if not task.ended]

    def stop(self) -> None:
        """Make `run` return."""
        self._stops = True

    def run(self) -> None:
        """Run the tasks until `stop`.

        :raises Deadlock: nothing can happen any more.
        """
        while not self._stops:
            self.before_step()
            while self._timers and self._timers[0][0] <= self.now:
                heapq.heappop(self._timers)[2]()
            if self._ready:
                self._continue(self._choose())
            elif self._timers:
                self.now = self._timers[0][0]
            else:
                raise Deadlock(self.picture())

    def _choose(self) -> Task:
        ready = self._ready
        if self._falls is None or len(ready) == 1:
            return ready.pop(self.random.randrange(len(ready)))
        task = max(ready, key=lambda task: task.priority)
        if self.random.random() < self._falls:
            task.priority = -self.steps
            task = max(ready, key=lambda task: task.priority)
        ready.remove(task)
        return task

    def _continue(self, task: Task) -> None:
        self.steps += not task.interrupted
        self.now += _STEP
        task.interrupted = False
        task.ready = False
        self.current = task
        try:
            task.greenlet.switch()
        finally:
            self.current = None
        if task.greenlet.dead:
            task.ended = True
            self.tasks.remove(task)

    def picture(self) -> str:
        """Return where all tasks wait."""
        living = (task for task in self.tasks if not task.ended)
        return "\n".join(f"{task.name} waits in\n{task.where()}" for task in living)
