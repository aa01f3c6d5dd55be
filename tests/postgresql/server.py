"""A PostgreSQL of our own: made in a temporary folder, on a port of its own, removed afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from glob import glob
from itertools import count
from types import TracebackType

__all__ = ["PostgreSQLServer", "missing_programs"]

_TIMEOUT = 30.0
_USERS = ("postgres", "nobody")

#: What makes it fast, and lets it lose data when the machine loses its power.
_CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def missing_programs() -> str | None:
    """Say in a few words which of PostgreSQL's programs has to be installed, if any."""
    for program in ("initdb", "postgres", "pg_basebackup", "pg_ctl"):
        if _program(program) is None:
            return f"PostgreSQL's {program} is not installed"
    return None


def _program(name: str) -> str | None:
    # Debian keeps them where no PATH leads to.
    places = [shutil.which(name), *sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"))]
    return next((place for place in places if place), None)


class PostgreSQLServer:
    """A running server, reached at 127.0.0.1 by its superuser ``zodb``, without a password.

    :param fsync: wait for the disk at each commit, as a server for real data does.
    :param settings: further settings of ``postgresql.conf``.
    :param primary: make it a standby of this one, which follows it.
    :raises RuntimeError: it does not start; the text has the end of its log.
    """

    user = "zodb"

    def __init__(
        self,
        fsync: bool = False,
        settings: dict[str, str] | None = None,
        primary: PostgreSQLServer | None = None,
    ) -> None:
        # It refuses to run as root, and whoever it runs as has no access to the folders of a run.
        self._user = next(filter(_exists, _USERS)) if os.geteuid() == 0 else None
        self._settings = {"max_connections": "200", **({} if fsync else _CARELESS)}
        self._settings |= settings or {}
        self.folder = tempfile.mkdtemp(prefix="zeotwisted-postgresql-")
        self._data = os.path.join(self.folder, "data")
        self._log = os.path.join(self.folder, "log")
        self.port = _free_port()
        self._names = (f"test{number}" for number in count(1))
        self._process: subprocess.Popen[bytes] | None = None
        try:
            if self._user is not None:
                shutil.chown(self.folder, self._user)
            if primary is None:
                self._run("initdb", "-D", self._data, "-U", self.user, "--auth=trust", "--no-sync")
            else:
                # -R writes from where it is to be followed.
                source = primary.dsn()
                self._run("pg_basebackup", "-d", source, "-D", self._data, "-R", "-c", "fast")
            self.start()
        except BaseException:
            self.remove()
            raise

    def __enter__(self) -> PostgreSQLServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()

    def dsn(self, database: str = "postgres", user: str | None = None) -> str:
        """Return what reaches a database, for all drivers."""
        return f"host=127.0.0.1 port={self.port} user={user or self.user} dbname={database}"

    def new_database(self, owner: str | None = None, like: str = "template1") -> str:
        """Make an empty database; return its data source.

        :param owner: a role that is made for it if there is none, without rights elsewhere. The
            data source is for it.
        :param like: the name of a database to copy, to which nobody is connected.
        """
        import psycopg

        name = next(self._names)
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            if owner is not None:
                self._make_role(connection, owner)
            connection.execute(
                f"CREATE DATABASE {name} OWNER {owner or self.user} TEMPLATE {like}"  # type: ignore[arg-type,unused-ignore]
            )
        return self.dsn(name, owner)

    def drop_unused(self, names: list[str]) -> list[str]:
        """Drop those databases to which nobody is connected; return the others."""
        import psycopg

        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            rows = connection.execute("SELECT DISTINCT datname FROM pg_stat_activity").fetchall()
            used = [name for (name,) in rows if name in names]
            # To drop one that is used would wait for five seconds, and fail.
            for name in set(names) - set(used):
                connection.execute(f"DROP DATABASE {name}")  # type: ignore[arg-type,unused-ignore]
        return used

    def _make_role(self, connection: object, name: str) -> None:
        execute = connection.execute  # type: ignore[attr-defined]
        if execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is None:
            execute(f"CREATE ROLE {name} LOGIN")

    def start(self) -> None:
        """Start it, and return when it accepts connections."""
        end = time.monotonic() + _TIMEOUT
        while not self._started(end):
            # After a kill, its children may hold the shared memory for a moment.
            if time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL does not start: {self._end_of_log()}")
            time.sleep(0.05)

    def _started(self, end: float) -> bool:
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        places = ["-D", self._data, "-k", self.folder, "-h", "127.0.0.1", "-p", str(self.port)]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres") or "postgres", *places, *settings],
                cwd=self.folder,
                user=self._user,
                stdout=log,
                stderr=log,
            )
        while self._process.poll() is None and time.monotonic() < end:
            if self._is_ready(self._process.pid):
                return True
            time.sleep(0.01)
        self.kill(signal.SIGKILL)
        return False

    def _is_ready(self, pid: int) -> bool:
        # The file is that of the server that was killed, until this one writes its own.
        try:
            with open(os.path.join(self._data, "postmaster.pid")) as file:
                lines = file.read().split("\n")
        except FileNotFoundError:
            return False
        return lines[0] == str(pid) and len(lines) > 7 and lines[7].strip() == "ready"

    def standby(self) -> PostgreSQLServer:
        """Return a new server that follows this one, for readers; the caller removes it."""
        return PostgreSQLServer(primary=self)

    def promote(self) -> None:
        """Make a standby a server of its own, which takes commits when this returns."""
        self._run("pg_ctl", "promote", "-w", "-D", self._data)

    def stop(self) -> None:
        """End all connections, and then the server; its data are kept."""
        self.kill(signal.SIGINT)

    def kill(self, number: int = signal.SIGQUIT) -> None:
        """End it without any care: the next start has to recover.

        :param number: ``SIGQUIT`` ends all its processes at once, ``SIGKILL`` only the first one;
            the others notice that by themselves.
        """
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_TIMEOUT)
            self._process = None

    def restart(self) -> None:
        """Stop and start it, at the same port and with its data."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """End it, and remove its data."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [_program(program) or program, *arguments],
            check=True,
            cwd=self.folder,
            user=self._user,
            stdout=subprocess.DEVNULL,
        )

    def _end_of_log(self) -> str:
        with open(self._log, errors="replace") as file:
            return " | ".join(file.read().splitlines()[-5:])


def _exists(user: str) -> bool:
    try:
        return bool(pwd.getpwnam(user))
    except KeyError:
        return False


def _free_port() -> int:
    # It cannot choose one by itself. Nobody else is likely to get this one within the next second.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
