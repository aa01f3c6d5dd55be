"""Twisted's reactor for one simulated process: a task that calls what is due."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IReactorCore, IReactorTCP, IReactorThreads, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from .network import Connector, Network, Port
from .scheduler import Scheduler, Task

__all__ = ["Reactor"]

_log = Logger()


@implementer(IReactorCore, IReactorTime, IReactorThreads, IReactorTCP)
class Reactor:
    """Calls, in each turn: what threads ask for, what is due, and what the network brings.

    :param host: the address of the process.
    """

    def __init__(self, scheduler: Scheduler, network: Network, host: str, owner: Any) -> None:
        self.running = True
        self.host = host
        self.owner = owner
        self._scheduler = scheduler
        self._network = network
        self._calls: deque[Callable[[], object]] = deque()
        self._arrivals: list[Callable[[], object]] = []
        self._delayed: list[tuple[float, int, DelayedCall]] = []
        self._numbers = count()
        self._triggers: dict[int, Callable[[], object]] = {}
        self._task: Task = scheduler.spawn(self._run, f"reactor of {host}", owner)

    def _run(self) -> None:
        while self.running:
            if not self._turn():
                self._scheduler.block()

    def _turn(self) -> bool:
        calls, self._calls = self._calls, deque()
        for call in calls:
            self._do(call)
        due = self._due()
        for delayed in due:
            if delayed.active():
                delayed.called = 1
                self._do(lambda delayed=delayed: delayed.func(*delayed.args, **delayed.kw))
        arrivals, self._arrivals = self._arrivals, []
        self._scheduler.random.shuffle(arrivals)
        for arrival in arrivals:
            self._do(arrival)
        return bool(calls or due or arrivals)

    def _do(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception:
            _log.failure("a call of the reactor has failed")
        # As the scheduler of an operating system does.
        self._scheduler.pause()

    def _due(self) -> list[DelayedCall]:
        due = []
        while self._delayed and self._delayed[0][0] <= self._scheduler.now:
            delayed = heapq.heappop(self._delayed)[2]
            if not delayed.active():
                continue
            if delayed.getTime() > self._scheduler.now:
                self._plan(delayed)
            else:
                due.append(delayed)
        return due

    def _wake(self) -> None:
        self._scheduler.wake(self._task)

    def arrived(self, call: Callable[[], object]) -> None:
        """Call something that the network brings, in an order that is decided at random."""
        self._arrivals.append(call)
        self._wake()

    # IReactorTime

    def seconds(self) -> float:
        """See `IReactorTime`."""
        return self._scheduler.now

    def callLater(self, delay: float, f: Callable[..., object], *args: Any, **kw: Any) -> Any:
        """See `IReactorTime`."""
        delayed = DelayedCall(
            self._scheduler.now + delay, f, args, kw, _nothing, self._plan, self.seconds
        )
        self._plan(delayed)
        return delayed

    def _plan(self, delayed: DelayedCall) -> None:
        heapq.heappush(self._delayed, (delayed.getTime(), next(self._numbers), delayed))
        self._scheduler.call_at(delayed.getTime(), self._wake)

    def getDelayedCalls(self) -> list[DelayedCall]:
        """See `IReactorTime`."""
        return [delayed for _, _, delayed in self._delayed if delayed.active()]

    # IReactorThreads

    def callFromThread(self, f: Callable[..., object], *args: Any, **kw: Any) -> None:
        """See `IReactorThreads`."""
        self._scheduler.pause()
        self._calls.append(lambda: f(*args, **kw))
        self._wake()
        self._scheduler.pause()

    # IReactorCore, as far as services and storages use it

    def callWhenRunning(self, f: Callable[..., object], *args: Any, **kw: Any) -> None:
        """See `IReactorCore`."""
        f(*args, **kw)

    def addSystemEventTrigger(
        self, phase: str, event: str, f: Callable[..., object], *args: Any, **kw: Any
    ) -> int:
        """See `IReactorCore`. A process that is killed calls none of them."""
        number = next(self._numbers)
        self._triggers[number] = f
        return number

    def removeSystemEventTrigger(self, number: int) -> None:
        """See `IReactorCore`."""
        del self._triggers[number]

    # IReactorTCP

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        """See `IReactorTCP`."""
        return self._network.listen(self, port, factory)

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> Connector:
        """See `IReactorTCP`."""
        return self._network.connect(self, host, port, factory, timeout)


def _nothing(delayed: DelayedCall) -> None:
    """Leave a cancelled call where it is."""
