"""RelStorage on a PostgreSQL of our own, which is made for one run and removed after it.

With its default settings it is comparable to the others: it keeps old revisions, it waits for the
disk before it answers a commit, and it is reached by TCP.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from glob import glob
from typing import Any

__all__ = ["RelationalStorage", "missing", "open_storage", "start"]

_START_TIMEOUT = 20
_USERS = ("postgres", "nobody")


def missing() -> str | None:
    """Say in a few words what has to be installed, if anything."""
    for module in ("relstorage", "psycopg2"):
        if importlib.util.find_spec(module) is None:
            return f"{module} is not installed"
    for program in ("initdb", "postgres"):
        if _program(program) is None:
            return f"PostgreSQL's {program} is not installed"
    return None


def _program(name: str) -> str | None:
    # Debian keeps them where no PATH leads to.
    places = [shutil.which(name), *sorted(glob(f"/usr/lib/postgresql/*/bin/{name}"))]
    return next((place for place in places if place), None)


def start(path: str) -> tuple[str, Callable[[], None]]:
    """Serve a copy of the FileStorage at `path`; return the data source, and what ends it."""
    # It refuses to run as root, and whoever it runs as has no access to the folder of the run.
    user = next(filter(_exists, _USERS)) if os.geteuid() == 0 else None
    folder = tempfile.mkdtemp(prefix="benchmarks-postgres-")
    if user is not None:
        shutil.chown(folder, user)
    port = _free_port()
    data = os.path.join(folder, "data")
    options: dict[str, Any] = {"cwd": folder, "user": user, "stdout": subprocess.DEVNULL}
    subprocess.run(
        [_program("initdb") or "initdb", "-D", data, "-U", "zodb", "--auth=trust", "--no-sync"],
        check=True,
        **options,
    )
    server = subprocess.Popen(
        [
            _program("postgres") or "postgres",
            "-D",
            data,
            "-k",
            folder,
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
        ],
        **options,
    )

    def stop() -> None:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)

    dsn = f"host=127.0.0.1 port={port} user=zodb dbname=postgres"
    try:
        _wait_for(dsn, server)
        _fill(dsn, path)
    except BaseException:
        stop()
        raise
    return dsn, stop


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


def _wait_for(dsn: str, server: subprocess.Popen[Any]) -> None:
    import psycopg2

    end = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            psycopg2.connect(dsn).close()
            return
        except psycopg2.OperationalError:
            if server.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)


def _fill(dsn: str, path: str) -> None:
    import psycopg2
    from ZODB.FileStorage import FileStorage

    storage = open_storage(dsn, 0)
    original = FileStorage(path, read_only=True)
    storage.copyTransactionsFrom(original)
    original.close()
    storage.close()
    # What it would do by itself in a while.
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    connection.cursor().execute("VACUUM ANALYZE")
    connection.close()


def open_storage(dsn: str, cache_size: int) -> Any:
    from relstorage.adapters.postgresql import PostgreSQLAdapter
    from relstorage.options import Options
    from relstorage.storage import RelStorage

    options = Options(cache_local_mb=cache_size // 2**20)
    return RelStorage(PostgreSQLAdapter(dsn=dsn, options=options), options=options)


class RelationalStorage:
    """RelStorage, used as ZODB does: one instance for a connection, which sees one snapshot."""

    def __init__(self, dsn: str, cache_size: int) -> None:
        self._storage = open_storage(dsn, cache_size)
        self._instance = self._storage.new_instance()
        self._instance.poll_invalidations()
        for name in (
            "lastTransaction",
            "new_oid",
            "store",
            "tpc_begin",
            "tpc_finish",
            "tpc_vote",
        ):
            setattr(self, name, getattr(self._instance, name))

    def loadBefore(self, oid: bytes, tid: bytes) -> Any:
        return (*self._instance.load(oid), None)

    def prefetch(self, oids: list[bytes], tid: bytes) -> None:
        self._instance.prefetch(oids)

    def close(self) -> None:
        self._instance.close()
        self._storage.close()
