"""One world: a daemon, clients, faults, and the checks at the end. A seed decides all of it."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from twisted.logger import LogLevel, formatEvent, globalLogBeginner
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSError

from ..history import History, check, transactions_of
from . import interrupts, threads
from .disk import Disk
from .faults import Weather
from .network import Network
from .processes import ClientProcess, DaemonProcess
from .scheduler import Deadlock, Scheduler
from .workload import CELLS, Application, open_database, record_cache

__all__ = ["Result", "run"]

_DAEMON = "10.0.0.1"

#: How many steps faults may come, and after how many the world has to be at its end.
_STORMY = 3000
_MOST_STEPS = 300_000

#: How long (seconds) the clients may take to finish when nothing goes wrong any more.
_FINISHING = 1200.0

#: How long (seconds) a connection may be silent before one end gives it up. Clients of version 5
#: have 150 seconds, and it takes half of that again to ask them.
_LONGEST_SILENCE = 300.0

#: How long (seconds) a daemon may take to stop: its drain-timeout, and time for slow disks.
_STOPPING = 120.0


@dataclass
class Result:
    """What became of a world.

    :ivar problems: what is wrong, one text each; nothing if all is well.
    :ivar digest: is the same if the seed is run again.
    """

    seed: int
    problems: list[str]
    digest: str
    steps: int
    commits: int
    faults: int
    trace: list[str]


class World:
    """See the module."""

    def __init__(self, scheduler: Scheduler, folder: Path, database: Path) -> None:
        self.scheduler = scheduler
        self.random = self.scheduler.random
        self.problems: list[str] = []
        self.trace: list[str] = []
        self._folder = folder
        self.faults = 0
        self.calm = False
        #: How many of the objects are used often: few in some worlds, so that clients meet.
        self.hot = self.random.choice([2, CELLS])
        self._deadline = 0.0
        self.history = History()
        self.network = Network(self.scheduler)
        (folder / "daemon").mkdir()
        shutil.copy(database, folder / "daemon" / "Data.fs")
        self.disk = Disk(self.scheduler, folder / "daemon")
        self.clients: list[ClientProcess] = []
        # The hosts of clients that are going to start again.
        self._absent: set[str] = set()
        self._graves: list[object] = []
        self._incarnations = 0
        self.daemon = self._start_daemon()
        for number in range(1, self.random.randint(2, 4)):
            self._start_client(number)
        self._weather = Weather(self)
        #: Whether nothing goes wrong in this world.
        self.faultless = self._weather.fair
        self.scheduler.before_step = self._before_step

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        text = text.replace(str(self._folder), "")
        self.trace.append(f"{self.scheduler.steps:6} {self.scheduler.now % 1000:10.6f} {text}")

    def logged(self, event: dict[str, Any]) -> None:
        """Receive an event of Twisted's log: a traceback, or a needless warning, is a problem."""
        text = formatEvent(event)
        if event["log_level"] >= LogLevel.info:
            self.note(f"log: {text}")
        failure = event.get("log_failure")
        if failure is not None and not self.disk.has_caused(failure.value):
            self.problems.append(f"logged: {text}\n{failure.getTraceback()}")
        elif self.faultless and event["log_level"] >= LogLevel.warn:
            self.problems.append(f"logged: {text}")

    def _before_step(self) -> None:
        steps = self.scheduler.steps
        if steps > _MOST_STEPS:
            raise Deadlock(f"no end after {steps} steps\n{self.scheduler.picture()}")
        if steps > _STORMY and not self.calm:
            self._calm()
        self._weather.before_step()

    # The daemon.

    def _start_daemon(self) -> DaemonProcess:
        self.note("the daemon starts")
        self.daemon = DaemonProcess(
            self.scheduler, self.network, _DAEMON, self.disk, self._storage_unusable
        )
        return self.daemon

    def end_daemon(self, end: Callable[[DaemonProcess], None]) -> None:
        """End the daemon, if it runs, and start another one later."""
        daemon = self.daemon
        if not daemon.alive:
            return
        end(daemon)
        self._graves.append(daemon)
        self.scheduler.call_after(self.random.uniform(0, 5), self._start_daemon)

    def _storage_unusable(self) -> None:
        """End the daemon, as a supervisor sees it: it has stopped by itself."""
        self.note("the storage cannot be used any more")
        self.scheduler.call_after(0, lambda: self.end_daemon(DaemonProcess.kill))

    def stop_daemon(self) -> None:
        """Stop the daemon in an orderly way, if it serves."""
        daemon = self.daemon
        if daemon.alive and daemon.serving:
            daemon.stop()
            self._wait_for_stop(daemon, self.scheduler.now + _STOPPING)

    def _wait_for_stop(self, daemon: DaemonProcess, end: float) -> None:
        if not daemon.alive:
            return
        if daemon.stopped:
            self.note("the daemon has stopped")
            self.end_daemon(DaemonProcess.kill)
        elif self.scheduler.now > end:
            self.problems.append(f"the daemon does not stop\n{self.scheduler.picture()}")
            self.end_daemon(DaemonProcess.kill)
        else:
            self.scheduler.call_after(0.1, lambda: self._wait_for_stop(daemon, end))

    # The clients.

    def _start_client(self, number: int) -> None:
        host = f"10.0.1.{number}"
        self._absent.discard(host)
        folder = self._folder / host
        folder.mkdir(exist_ok=True)
        process = ClientProcess(self.scheduler, self.network, host, folder, [_DAEMON])
        self.clients.append(process)
        self._incarnations += 1
        name = f"{host} life {self._incarnations}"
        process.spawn(lambda: self._open(process, name), "start")

    def _open(self, process: ClientProcess, name: str) -> None:
        for attempt in count(1):
            try:
                db = open_database(process, self.history, f"{name} storage {attempt}")
                break
            except POSError as error:
                self.note(f"{name} cannot open its storage: {type(error).__name__}: {error}")
                self.scheduler.sleep(1)
        running = [
            Application(self, process, f"{name} thread {number}")
            for number in range(self.random.choice([1, 2, 4]))
        ]
        for application in running:
            process.spawn(lambda application=application: application.run(db), application.name)
        while not all(application.finished for application in running):
            self.scheduler.sleep(1)
        record_cache(db)
        db.close()
        self.note(f"{name} is closed")
        if process.leaving:
            self.end_client(process)
        else:
            self.clients.remove(process)

    def end_client(self, process: ClientProcess) -> None:
        """Kill a client, and start another one at the same place later."""
        process.kill(notices=self.random.random() < 0.8)
        self._graves.append(process)
        self.clients.remove(process)
        self._absent.add(process.host)
        number = int(process.host.rpartition(".")[2])
        self.scheduler.call_after(self.random.uniform(0, 2), lambda: self._start_client(number))

    # The end.

    def _calm(self) -> None:
        """Let nothing more go wrong."""
        self.note("calm")
        self.calm = True
        self.network.unreachable.clear()
        self.scheduler.absences = 0.0
        self.disk.full, self.disk.failures = False, 0
        self._deadline = self.scheduler.now + _FINISHING
        self.scheduler.call_after(10, self._look)

    def _look(self) -> None:
        away = not self.clients and not self._absent
        if self.problems or (away and self.daemon.stopped):
            self.scheduler.stop()
            return
        if self.scheduler.now > self._deadline:
            raise Deadlock(f"no end after {_FINISHING:g} seconds\n{self.scheduler.picture()}")
        silence = self.network.longest_silence()
        if silence > _LONGEST_SILENCE:
            self.problems.append(f"a connection is silent for {silence:.0f} seconds")
        if away and self.daemon.serving and not silence:
            self.daemon.stop()
        self.scheduler.call_after(1, self._look)

    def run(self) -> None:
        """Run until all clients have finished."""
        try:
            self.scheduler.run()
        except Deadlock as deadlock:
            self.problems.append(f"nothing goes on: {deadlock}")

    def check(self) -> int:
        """Check the history against the database; return the number of its transactions."""
        self.daemon.kill()
        storage = FileStorage(str(self.disk.folder / "Data.fs"), read_only=True)
        transactions = list(transactions_of(storage))
        self.problems += map(str, check(self.history, transactions))
        return len(transactions)


def run(seed: int, folder: Path, database: Path) -> Result:
    """Run a world, in a process of its own: what is killed in it stays in memory.

    :param folder: an empty folder.
    :param database: the file to begin with.
    """
    scheduler = Scheduler(seed)
    threads.simulate(scheduler)
    interrupts.simulate(scheduler)
    world = World(scheduler, folder, database)
    # Not only added: before that, Twisted shows what is critical on the terminal.
    globalLogBeginner.beginLoggingTo([world.logged], discardBuffer=True, redirectStandardIO=False)
    logging.getLogger().addHandler(_Handler(world))
    world.run()
    commits = 0 if world.problems else world.check()
    digest = hashlib.sha256("\n".join(world.trace).encode()).hexdigest()[:16]
    return Result(seed, world.problems, digest, scheduler.steps, commits, world.faults, world.trace)


class _Handler(logging.Handler):
    """Passes the lines of `logging` to a world."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self._world.note(f"log: {text}")
        wrong = record.exc_info or (self._world.faultless and "disconnected" in text)
        if wrong and record.name.startswith("zeotwisted"):
            self._world.problems.append(f"logged: {text}")
