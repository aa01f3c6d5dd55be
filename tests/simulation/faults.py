"""What goes wrong in a world, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .world import World

__all__ = ["FAULTS", "Weather"]


def _reset(world: World) -> None:
    transports = world.network.transports
    if transports:
        world.network.reset(world.random.choice(transports))


def _silence(world: World) -> None:
    transports = world.network.transports
    if transports:
        world.network.silence(world.random.choice(transports))


def _unreachable(world: World) -> None:
    host = world.random.choice([world.daemon.host, *(each.host for each in world.clients)])
    unreachable = world.network.unreachable
    unreachable.add(host)
    for transport in list(world.network.transports):
        if host in (transport.getHost().host, transport.getPeer().host):
            world.network.silence(transport)
    world.scheduler.call_after(world.random.uniform(0.1, 90), lambda: unreachable.discard(host))


def _kill_daemon(world: World) -> None:
    world.end_daemon(lambda daemon: daemon.kill(notices=world.random.random() < 0.8))


def _power(world: World) -> None:
    world.end_daemon(lambda daemon: daemon.kill(power=True))


def _stop_daemon(world: World) -> None:
    world.stop_daemon()


def _kill_client(world: World) -> None:
    if world.clients:
        world.end_client(world.random.choice(world.clients))


def _close_client(world: World) -> None:
    """No fault: a client ends in an orderly way, and comes back."""
    if world.clients:
        world.random.choice(world.clients).leaving = True


def _disk_fails(world: World) -> None:
    world.disk.good = world.random.randrange(6)
    world.disk.failures = world.random.randint(1, 3)


def _disk_full(world: World) -> None:
    disk = world.disk
    disk.full = True
    world.scheduler.call_after(world.random.uniform(0.05, 2), lambda: setattr(disk, "full", False))


#: How many worlds have no faults.
_FAULTLESS = 0.15

#: What is no fault.
_HARMLESS = {"close client"}

#: The faults, and how often each is chosen.
FAULTS: dict[str, tuple[Callable[[World], None], float]] = {
    "reset": (_reset, 5),
    "silence": (_silence, 1),
    "unreachable": (_unreachable, 0.5),
    "kill daemon": (_kill_daemon, 3),
    "power": (_power, 2),
    "stop daemon": (_stop_daemon, 1),
    "kill client": (_kill_client, 2),
    "close client": (_close_client, 1),
    "disk fails": (_disk_fails, 2),
    "disk full": (_disk_full, 1),
}


class Weather:
    """Chooses faults. Some worlds have none, and others only some kinds.

    A fault comes after a number of steps, not of seconds: so it comes at any place in the code.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        random = world.random
        self.kinds = [name for name in FAULTS if random.random() < 0.5]
        if random.random() < _FAULTLESS:
            self.kinds = [name for name in self.kinds if name in _HARMLESS]
        #: Whether nothing goes wrong in this world.
        self.fair = set(self.kinds) <= _HARMLESS
        # How many steps are between two faults, on average.
        self._distance = random.choice([100, 400, 1500])
        self._next = self._choose_next()

    def _choose_next(self) -> int:
        random = self._world.random
        return self._world.scheduler.steps + 1 + int(random.expovariate(1 / self._distance))

    def before_step(self) -> None:
        """Perhaps break something."""
        if not self.kinds or self._world.scheduler.steps < self._next or self._world.calm:
            return
        weights = [FAULTS[kind][1] for kind in self.kinds]
        kind = self._world.random.choices(self.kinds, weights)[0]
        self._world.note(f"fault: {kind}")
        self._world.faults += 1
        FAULTS[kind][0](self._world)
        self._next = self._choose_next()
