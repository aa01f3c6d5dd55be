"""What happens to daemons and their database, again and again, while clients work."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable

from tests.postgresql.server import PostgreSQLServer

from .cluster import Cluster
from .relay import Way

__all__ = ["FAULTS", "Faults", "disturb"]


class Faults:
    """Does a fault every now and then, and makes it good again.

    :ivar count: how many there were.
    """

    def __init__(self, cluster: Cluster, server: PostgreSQLServer, chance: random.Random) -> None:
        self.cluster = cluster
        self.server = server
        self.chance = chance
        self.count = 0
        self.over = threading.Event()
        self._do: Callable[[Faults], object] | None = None

    def choose(self, name: str | None) -> None:
        """Choose the fault."""
        self._do = None if name is None else FAULTS[name]

    def go_on(self, running: Callable[[], bool], most: int | None = None) -> None:
        """Do it as long as something runs, or `most` times."""
        while self._do is not None and running() and self.count != most:
            # The clients need some time to come back, and are to be in the midst of commits then.
            self.over.wait(self.chance.uniform(0.3, 1.5))
            self._do(self)
            self.count += 1


def disturb(
    name: str | None, cluster: Cluster, server: PostgreSQLServer, chance: random.Random
) -> Faults:
    """Return what does the fault `name`."""
    faults = Faults(cluster, server, chance)
    faults.choose(name)
    return faults


def kill_daemon(faults: Faults) -> None:
    """Kill a daemon, and start it again."""
    daemon = faults.chance.choice(faults.cluster.daemons)
    daemon.kill()
    faults.over.wait(faults.chance.uniform(0.0, 0.3))
    daemon.start()


def kill_database(faults: Faults) -> None:
    """Kill the whole database server, and start it again."""
    faults.server.kill(faults.chance.choice([signal.SIGKILL, signal.SIGQUIT]))
    faults.over.wait(faults.chance.uniform(0.0, 0.3))
    faults.server.start()


def restart_database(faults: Faults) -> None:
    """Restart the database server as an operator does."""
    faults.server.restart()


def terminate(faults: Faults) -> None:
    """End some connections to the database: the daemons', of any kind."""
    pids = faults.cluster.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )
    for (pid,) in faults.chance.sample(pids, min(len(pids), faults.chance.randint(1, 3))):
        faults.cluster.execute("SELECT pg_terminate_backend(%s)", pid)


def break_relay(faults: Faults) -> None:
    """Break all connections of a daemon to the database."""
    faults.chance.choice(faults.cluster.daemons).relay.cut()


def swallow(faults: Faults) -> None:
    """Let nothing of a daemon's arrive at the database, or come back, for some seconds."""
    relay = faults.chance.choice(faults.cluster.daemons).relay
    relay.go(Way.SWALLOW)
    faults.over.wait(faults.chance.choice([0.5, 2.0, 6.0]))
    relay.go(Way.PASS)


def drop_trigger(faults: Faults) -> None:
    """Have the database tell nothing of commits any more; it did not say so."""
    table = '"transaction"' if faults.cluster.keep_history else "object_state"
    faults.cluster.execute(f"DROP TRIGGER IF EXISTS zeotwisted_news ON {table}")


def any_of_them(faults: Faults) -> None:
    """Do one of these, but for those that cannot be made good."""
    names = ("kill daemon", "kill database", "restart database", "terminate", "break", "swallow")
    FAULTS[faults.chance.choice(names)](faults)


FAULTS: dict[str, Callable[[Faults], object]] = {
    "any": any_of_them,
    "break": break_relay,
    "drop trigger": drop_trigger,
    "kill daemon": kill_daemon,
    "kill database": kill_database,
    "restart database": restart_database,
    "swallow": swallow,
    "terminate": terminate,
}
