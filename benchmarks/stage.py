"""One run: a daemon and its clients, in processes of their own, on a fresh copy of a database."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .contenders import Contender
from .databases import Databases
from .usage import cpu_time, most_memory

__all__ = [
    "LANES",
    "MIB",
    "Client",
    "Performance",
    "RunFailed",
    "Stage",
    "Usage",
    "command",
    "environment",
]

MIB = 2**20

#: How many groups of clients the relay can tell apart.
LANES = 4

_START_TIMEOUT = 30
_STOP_TIMEOUT = 20


class RunFailed(Exception):
    """A run gave no figure; the message says why, in one line."""


@dataclass
class Usage:
    """What the measured parts of a run took, in seconds and bytes.

    Memory is the most that a process had, from its start; of the clients it is the largest one's.
    """

    server_cpu: float = 0.0
    server_peak: int = 0
    client_cpu: float = 0.0
    client_peak: int = 0


@dataclass(frozen=True)
class Performance:
    """What clients did at the same time.

    :ivar results: what the function returned, for each client.
    :ivar durations: how long each of them took.
    :ivar seconds: from the start of the first to the end of the last.
    :ivar server_cpu: the daemon's processor time meanwhile.
    """

    results: list[Any]
    durations: list[float]
    seconds: float
    server_cpu: float


class _Process:
    """A child that prints lines, and ends with its standard input."""

    def __init__(self, name: str, arguments: list[str], folder: Path) -> None:
        self.name = name
        self._errors = folder / f"{name}-{time.monotonic_ns()}.err"
        with open(self._errors, "w") as stderr:
            self._popen = subprocess.Popen(
                arguments,
                cwd=folder,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.pid = self._popen.pid

    def read(self, timeout: float) -> str:
        """Return the next line. No more than one may be under way."""
        assert self._popen.stdout is not None
        readable, _, _ = select.select([self._popen.stdout], [], [], timeout)
        if not readable:
            raise RunFailed(f"{self.name}: nothing heard for {timeout:g} s")
        line = self._popen.stdout.readline()
        if not line:
            returncode = self._popen.wait(_STOP_TIMEOUT)
            raise RunFailed(f"{self.name}: " + _last_line(self._errors.read_text(), returncode))
        return line

    def signal(self) -> None:
        """Let it go on, or end, whatever it waits for; it reads one byte."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(".")
        self._popen.stdin.flush()

    def stop(self) -> None:
        assert self._popen.stdin is not None and self._popen.stdout is not None
        self._popen.stdin.close()
        try:
            self._popen.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._popen.stdout.close()


class Client(_Process):
    """A client that is ready to play its part."""


@dataclass
class Stage:
    """What a measure plays on.

    :ivar seed: the round. All contenders get the same oids in a round.
    :ivar usage: the sum over all performances.
    :ivar scale: what counts of operations are multiplied with; tests make it small.
    :ivar round_trip: seconds that a relay between clients and daemon adds; None: there is no relay.
    """

    contender: Contender
    folder: Path
    databases: Databases
    seed: int
    timeout: float
    scale: float = 1.0
    round_trip: float | None = None
    usage: Usage = field(default_factory=Usage)
    _daemon: _Process | None = None
    _relay: _Process | None = None
    #: Where clients connect to; with a relay, one for each of the lanes.
    _addresses: list[Any] = field(default_factory=list)

    def count(self, number: int) -> int:
        """Return how many operations to do where a full run does `number`."""
        return max(2, int(number * self.scale))

    @contextmanager
    def daemon(self, database: str, blobs: bool = False) -> Iterator[None]:
        """Have a database served; without a daemon, have it at the clients' disposal."""
        folder = self.folder / database
        folder.mkdir(exist_ok=True)
        path = self.databases.copy(database, folder)
        if self.contender.daemon is None:
            self._addresses = [str(path)]
            yield
            return
        blob_dir = [str(folder / "blobs")] if blobs else []
        arguments = command("daemon", self.contender.daemon, str(path), *blob_dir)
        self._daemon = _Process("daemon", arguments, self.folder)
        try:
            address = json.loads(self._daemon.read(_START_TIMEOUT))
            with self._line(address):
                yield
            self.usage.server_peak = max(self.usage.server_peak, most_memory(self._daemon.pid))
        finally:
            self._daemon.stop()
            self._daemon = None

    @contextmanager
    def _line(self, address: Any) -> Iterator[None]:
        """Put a relay before the daemon at `address`, if there is a distance."""
        if self.round_trip is None:
            self._addresses = [address]
            yield
            return
        host, port, *_ = address
        arguments = command("relay", host, str(port), str(self.round_trip / 2), str(LANES))
        self._relay = _Process("relay", arguments, self.folder)
        try:
            self._addresses = json.loads(self._relay.read(_START_TIMEOUT))
            yield
        finally:
            self._relay.stop()
            self._relay = None

    def traffic(self, lane: int) -> Counter[str]:
        """Return what has passed so far to and from the clients of a lane; see `relay.Counts`.

        It is empty where there is no relay.
        """
        total: Counter[str] = Counter()
        for connection in self._ask_relay().get("connections", ()):
            if connection.pop("lane") == lane:
                total.update(connection)
        return total

    def lateness(self) -> float | None:
        """Return how many seconds after the time the relay has passed things on, on average."""
        mean: float | None = self._ask_relay().get("late", {}).get("mean")
        return mean

    def _ask_relay(self) -> dict[str, Any]:
        if self._relay is None:
            return {}
        self._relay.signal()
        report: dict[str, Any] = json.loads(self._relay.read(_START_TIMEOUT))
        return report

    @contextmanager
    def clients(self, *orders: dict[str, Any]) -> Iterator[list[Client]]:
        """Start one client for each order, and wait until all of them are ready."""
        with ExitStack() as stack:
            clients = []
            for number, order in enumerate(orders):
                arguments = command("client", json.dumps(order))
                clients.append(Client(f"client{number}", arguments, self.folder))
                stack.callback(clients[-1].stop)
            for client in clients:
                client.read(self.timeout)
            yield clients

    def order(
        self,
        part: Callable[..., Iterator[Any]],
        cache_size: int = 20 * MIB,
        blob_dir: str | None = None,
        cache: str | None = None,
        connects_itself: bool = False,
        lane: int = 0,
        **arguments: Any,
    ) -> dict[str, Any]:
        """Return what a client is told: the function to call, and the storage to call it with.

        :param lane: which counters of the relay it goes by, if there is a relay: up to `LANES`.
        """
        options = {"cache_size": cache_size, "blob_dir": blob_dir, "cache": cache}
        return {
            "make": self.contender.client,
            "address": self._addresses[lane if self._relay else 0],
            "daemon": self._daemon and self._daemon.pid,
            "options": None if connects_itself else options,
            "module": part.__module__,
            "function": part.__name__,
            "arguments": arguments,
        }

    def perform(self, *orders: dict[str, Any]) -> Performance:
        """Have clients play their parts at the same time, to the end."""
        with self.clients(*orders) as clients:
            return self.act(clients)

    def act(self, clients: Sequence[Client], until_first: bool = False) -> Performance:
        """Have clients that are ready play their parts, or the next ones, at the same time.

        :param until_first: tell all others to end when the first of them has ended.
        """
        before = self._server_cpu()
        for client in clients:
            client.signal()
        outcomes = []
        for client in clients:
            outcomes.append(json.loads(client.read(self.timeout)))
            if until_first and client is clients[0]:
                for other in clients[1:]:
                    other.signal()
        server_cpu = self._server_cpu() - before
        self.usage.server_cpu += server_cpu
        self.usage.client_cpu += sum(outcome["cpu"] for outcome in outcomes)
        self.usage.client_peak = max(
            self.usage.client_peak, *(outcome["peak"] for outcome in outcomes)
        )
        start = min(outcome["start"] for outcome in outcomes)
        end = max(outcome["end"] for outcome in outcomes)
        return Performance(
            [outcome["result"] for outcome in outcomes],
            [outcome["end"] - outcome["start"] for outcome in outcomes],
            end - start,
            server_cpu,
        )

    def _server_cpu(self) -> float:
        return cpu_time(self._daemon.pid) if self._daemon else 0.0


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"{__package__}.{module}", *arguments]


def environment() -> dict[str, str]:
    # The processes start in the folder of their run, where nobody minds a daemon's files,
    # so they have to be told where this package is.
    root = str(Path(__file__).resolve().parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    paths = [root, *(inherited.split(os.pathsep) if inherited else [])]
    absolute = [os.path.abspath(path) for path in paths]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(absolute)}


def _last_line(text: str, returncode: int) -> str:
    """The line that names the exception, when a traceback was printed."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"ended with status {returncode}"
