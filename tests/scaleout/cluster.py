"""Daemons over one database, each a process of its own, with a relay of its own to PostgreSQL."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.history import Transaction, transactions_of
from tests.postgresql.relational import open_relstorage
from tests.postgresql.server import PostgreSQLServer
from zeotwisted import postgresql

from .relay import Relay

__all__ = ["Cluster", "Daemon", "cluster", "new_server", "until"]

ROOT = Path(__file__).parent.parent.parent

#: Where the daemons have their source from; see `mutants`.
SOURCE = Path(os.environ.get("ZEOTWISTED_SOURCE", ROOT))

#: How long (seconds) something may take that has to happen.
TIMEOUT = 60.0

_CONFIGURATION = """\
%import relstorage
<zeo>
 address 127.0.0.1:{port}
 {options}
</zeo>
<relstorage>
 keep-history {keep_history}
 {storage}
 <postgresql>
  driver psycopg2
  dsn {dsn}
 </postgresql>
</relstorage>
"""

#: Runs twistd of any Python, without its script.
_PROGRAM = "import sys; from twisted.scripts.twistd import run; sys.exit(run())"


def until(condition: Callable[[], object], seconds: float = TIMEOUT, what: str = "") -> float:
    """Wait for a condition; return how long it took."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > seconds:
            raise AssertionError(f"not within {seconds} seconds: {what or condition}")
        time.sleep(0.005)
    return time.monotonic() - begin


class Daemon:
    """A daemon.

    :param storage: lines for the section ``<relstorage>``; ``NAME`` in them is the daemon's name.
    :ivar address: where it is; stays the same.
    :ivar relay: leads it to the database.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        dsn: str,
        keep_history: bool,
        options: str = "",
        storage: str = "",
    ) -> None:
        self.name = name
        given = dict(part.split("=", 1) for part in dsn.split())
        self.relay = Relay(int(given["port"]))
        given["port"] = str(self.relay.port)
        self.address = ("127.0.0.1", _free_port())
        self._log = directory / f"{name}.log"
        self._log.touch()
        configuration = directory / f"{name}.conf"
        configuration.write_text(
            _CONFIGURATION.format(
                port=self.address[1],
                options=options,
                storage=storage.replace("NAME", name),
                keep_history=str(keep_history).lower(),
                dsn=" ".join(f"{key}={value}" for key, value in given.items()),
            )
        )
        self._command = [sys.executable, "-c", _PROGRAM, "-n", "--pidfile", "", "zeo", "-C"]
        self._command.append(str(configuration))
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All that it has logged so far."""
        return self._log.read_text()

    def start(self, wait: bool = True) -> None:
        """Start it; return when it listens."""
        before = self.log.count("listening at")
        path = os.pathsep.join(filter(None, [str(SOURCE), str(ROOT), _python_path()]))
        with self._log.open("ab") as log:
            self.process = process = subprocess.Popen(
                self._command,
                cwd=self._log.parent,
                env=os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=log,
            )

        def is_up() -> bool:
            assert process.poll() is None, self.log
            return self.log.count("listening at") > before

        if wait:
            until(is_up, what=f"{self.name} listens")

    def stop(self, number: int = signal.SIGTERM, seconds: float = TIMEOUT) -> float:
        """End it; return how long that took."""
        process, self.process = self.process, None
        begin = time.monotonic()
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(seconds)
            finally:
                process.kill()
                process.wait()
        return time.monotonic() - begin

    def kill(self) -> None:
        """End it without a word."""
        self.stop(signal.SIGKILL)


class Cluster:
    """Some daemons over a new database.

    :param server: has the database.
    :param options: lines for the section ``<zeo>``.
    :param storage: lines for the section ``<relstorage>``; ``NAME`` in them is the daemon's name.
    :param installs: whether the database tells of commits.
    :ivar daemons: all of them run.
    """

    def __init__(
        self,
        directory: Path,
        server: PostgreSQLServer,
        keep_history: bool = True,
        daemons: int = 2,
        options: str = "",
        storage: str = "",
        installs: bool = True,
    ) -> None:
        self.keep_history = keep_history
        self.dsn = server.new_database()
        open_relstorage(self.dsn, keep_history).close()
        if installs:
            with closing(postgresql.connect(self.dsn)) as connection:
                postgresql.install(connection)
        self.daemons = [
            Daemon(directory, name, self.dsn, keep_history, options, storage)
            for name in "ABCDEFGH"[:daemons]
        ]
        with ExitStack() as stack:
            stack.callback(self.close)
            for daemon in self.daemons:
                daemon.start()
            stack.pop_all()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where all daemons are."""
        return [daemon.address for daemon in self.daemons]

    @property
    def logs(self) -> str:
        """What all daemons have logged."""
        return "".join(daemon.log for daemon in self.daemons)

    def transactions(self) -> Iterator[Transaction]:
        """Yield the transactions of the database, past the daemons."""
        with closing(open_relstorage(self.dsn, self.keep_history)) as storage:
            yield from transactions_of(storage)

    def notable(self) -> str:
        """Return the lines of all logs that show a mistake of the daemons."""
        marks = ("Traceback", "Error:", "Unhandled", "#critical", "#error", "failed")
        lines = (f"{d.name}: {line}" for d in self.daemons for line in d.log.splitlines())
        return "\n".join(line for line in lines if any(mark in line for mark in marks))

    def execute(self, statement: str, *arguments: Any) -> list[Any]:
        """Run a statement in the database; return its rows."""
        with closing(postgresql.connect(self.dsn)) as connection:
            cursor = connection.execute(statement, arguments)  # type: ignore[arg-type,unused-ignore]
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """End all daemons."""
        for daemon in self.daemons:
            daemon.kill()
            daemon.relay.close()


@contextmanager
def cluster(directory: Path, server: PostgreSQLServer, **options: Any) -> Iterator[Cluster]:
    """Run a cluster for a while."""
    with closing(Cluster(directory, server, **options)) as running:
        yield running


def new_server(**options: Any) -> PostgreSQLServer:
    """Return a server that keeps what is committed when its processes are killed."""
    return PostgreSQLServer(settings={"synchronous_commit": "on"}, **options)


def _python_path() -> str:
    return os.environ.get("PYTHONPATH", "")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
