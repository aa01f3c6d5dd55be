"""A pooler of transactions, which gives the connection that listens to others."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.postgresql.server import PostgreSQLServer
from zeotwisted.postgresql import Listener, Pooled

POOLER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

INI = """
[databases]
* = host=127.0.0.1 port={server} user=zodb

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = {mode}
unix_socket_dir =
"""


@pytest.fixture(params=["transaction", "session"])
def mode(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture
def pooled(postgresql: PostgreSQLServer, dsn: str, mode: str) -> Iterator[str]:
    """The data source of a database behind a pooler."""
    if POOLER is None:
        pytest.skip("pgbouncer is not installed")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="zeotwisted-pooler-") as folder:
        path = Path(folder, "pooler.ini")
        path.write_text(INI.format(server=postgresql.port, port=port, mode=mode))
        path.chmod(0o644)
        Path(folder).chmod(0o755)
        # It refuses to run as root, too.
        user = "nobody" if os.geteuid() == 0 else None
        with subprocess.Popen(
            [POOLER, str(path)], user=user, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if b"process up" in line:
                    break
            try:
                yield dsn.replace(f"port={postgresql.port}", f"port={port}")
            finally:
                process.terminate()


def test_a_pooler_of_transactions_is_noticed(pooled: str, mode: str) -> None:
    with closing(Listener(pooled)) as listener:
        if mode == "session":
            listener.selftest()
            return
        with pytest.raises(Pooled, match="use that of PostgreSQL itself") as caught:
            listener.selftest(1.0)
    assert "\n" not in str(caught.value)
