"""One attack after the other, on one daemon, while well-behaved clients work."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from .attacker import Attacker
from .attacks import door
from .victim import State, Victim
from .workload import KINDS, Figures, Workload

__all__ = ["Outcome", "Siege", "eventually"]

#: How long (seconds) an attack may take to stand, and the daemon to free what it held.
_PATIENCE = 60.0

#: How long (seconds) the daemon may take to end threads and to give memory back, and how much more
#: memory it may need afterwards.
_REST = 30.0
_GROWTH = 1.1

#: The limits whose `used` has to be the same when an attacker has gone.
_WORKLOAD_USES = {"connection-limit", "unregistered-limit", "address-limit", "spool-memory"}
_WORKLOAD_USES |= {"call-total", "message-memory", "send-memory"}

_T = TypeVar("_T")


class Outcome(NamedTuple):
    """What one attack has done."""

    name: str
    #: What the clients saw before and during the attack.
    before: Figures
    during: Figures
    #: What the daemon used before the attack, during it, and after it.
    idle: State
    worst: State
    left: State
    #: How often each limit was reached.
    struck: dict[str, int]

    @property
    def ratios(self) -> dict[str, float]:
        """How many times slower the clients' calls were during the attack."""
        return {
            kind: self.during.medians[kind] / self.before.medians[kind]
            for kind in KINDS
            if self.before.medians[kind]
        }


def eventually(what: str, condition: Callable[[], _T], seconds: float = _PATIENCE) -> _T:
    """Wait until a condition is true; return its value.

    :raises TimeoutError: it is not true after so many seconds.
    """
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.1)


class Siege:
    """A daemon, and clients that work.

    :param seconds: for how long to watch the clients, before and during each attack.
    :param rest: for how long (seconds) to wait for threads that end, and for memory.
    """

    def __init__(self, folder: Path, seconds: float, rest: float = _REST) -> None:
        self._seconds = seconds
        self._rest = rest
        self.victim = Victim(folder)
        self._workload = Workload(self.victim.socket)
        self.victim.limits()

    def _watch(self) -> Figures:
        self._workload.figures()
        time.sleep(self._seconds)
        return self._workload.figures()

    def _held(self) -> dict[str, int]:
        limits = self.victim.limits()
        return {key: limit["used"] for key, limit in limits.items() if key not in _WORKLOAD_USES}

    def attack(self, name: str, scale: float = 1.0) -> Outcome:
        """Mount an attack, and wait until nothing is left of it.

        :param scale: the size of the attack; 1 is the full one.
        :raises TimeoutError: something is left.
        """
        before = self._watch()
        idle, held, counted = self.victim.state(), self._held(), self.victim.limits()
        attacker = Attacker(name, self.victim.address_of(door(name)), scale)
        try:
            attacker.wait(_PATIENCE)
            during = self._watch()
            worst = self.victim.state()
        finally:
            attacker.stop()
        eventually(f"{name}: what the attacker held is not free", lambda: self._held() == held)
        eventually(
            f"{name}: there are more connections than before",
            lambda: (
                self.victim.limits()["connection-limit"]["used"]
                <= counted["connection-limit"]["used"] + 1
            ),
        )
        eventually(f"{name}: visitors get no answer", self.victim.is_live)
        # A client of the workload may come or go at this moment, or have a file open.
        eventually(
            f"{name}: there are more descriptors than before",
            lambda: self.victim.state().descriptors <= idle.descriptors + 1,
        )
        self._wait_for_rest(idle)
        struck = {
            key: limit["struck"] - counted[key]["struck"]
            for key, limit in self.victim.limits().items()
        }
        return Outcome(
            name,
            before,
            during,
            idle,
            worst,
            self.victim.state(),
            {key: number for key, number in struck.items() if number},
        )

    def _wait_for_rest(self, idle: State) -> None:
        """Wait until threads have ended and memory is given back, if that happens."""
        with suppress(TimeoutError):
            eventually(
                "",
                lambda: (
                    self.victim.state().threads <= idle.threads
                    and self.victim.state().memory <= idle.memory * _GROWTH
                ),
                self._rest,
            )

    def end(self) -> float:
        """Stop all; return how long (seconds) the daemon took to stop."""
        self._workload.stop()
        return self.victim.stop()
