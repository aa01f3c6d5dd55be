"""The samples for several daemons over one PostgreSQL, with a real one."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import zeotwisted
from tests.daemon.conftest import ROOT, SCRIPTS, Running, commit, read
from tests.postgresql.server import PostgreSQLServer

pytestmark = pytest.mark.timeout(120)

SAMPLES = ROOT / "etc" / "postgresql"
DSN = "dsn host=127.0.0.1 port=5432 dbname=zodb user=zodb"
TWISTD = (str(SCRIPTS / "twistd"), "-n", "--pidfile=", "zeo", "-C", "zeo.conf")

Run = Callable[..., Running]


@pytest.fixture
def daemons(run: Run, folder: Path, postgresql: PostgreSQLServer) -> list[Running]:
    """Two daemons, of an empty database that the command has prepared."""
    text = (SAMPLES / "zeo.conf").read_text()
    assert DSN in text
    text = text.replace(DSN, f"dsn {postgresql.new_database()}").replace("8100", "0")
    (folder / "zeo.conf").write_text(text)
    command = (sys.executable, "-m", "zeotwisted", "postgresql", "setup", "--config", "zeo.conf")
    subprocess.run([*command, "--yes"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*command, "--check"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return [run(*TWISTD), run(*TWISTD)]


def test_what_one_daemon_commits_is_at_the_other(daemons: list[Running]) -> None:
    one, other = (daemon.address for daemon in daemons)
    commit(one, "greeting", "hello", storage="main")
    assert read(other, "greeting", storage="main") == "hello"


def test_the_container_changes_what_is_there() -> None:
    text = (SAMPLES / "zeo.conf").read_text()
    changes = re.findall(r"-e 's(.)(.*?)\1(.*?)\1'", (SAMPLES / "Containerfile").read_text())
    assert len(changes) == 3
    for _, old, new in changes:
        assert text.count(old) >= 1
        text = text.replace(old, new)
    assert "127.0.0.1" not in text.partition("%import")[2]
    compose = (SAMPLES / "compose.yaml").read_text()
    assert {"database", "zeo1", "zeo2"} <= set(re.findall(r"^  (\w+):", compose, re.MULTILINE))


@contextmanager
def balancer(daemons: list[Running], folder: Path) -> Iterator[tuple[str, int]]:
    """Run the sample's balancer in front of the daemons; return its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()
    text = (
        (SAMPLES / "haproxy.cfg").read_text().replace("bind :8100", f"bind 127.0.0.1:{address[1]}")
    )
    for number, daemon in enumerate(daemons, 1):
        text = text.replace(f"zeo{number}:8100", f"127.0.0.1:{daemon.address[1]}")
    (folder / "haproxy.cfg").write_text(text)
    process = subprocess.Popen(["haproxy", "-db", "-f", "haproxy.cfg"], cwd=folder)
    try:
        yield address
    finally:
        process.terminate()
        process.wait()


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_the_balancer_finds_a_daemon_that_serves(daemons: list[Running], folder: Path) -> None:
    with balancer(daemons, folder) as address:
        commit(address, "greeting", "hello", storage="main")
        daemons[0].process.kill()
        daemons[0].process.wait()
        # The client tries again until the balancer's check has noticed.
        with closing(zeotwisted.ClientStorage(address, storage="main", wait_timeout=60)) as storage:
            assert storage.lastTransaction() != bytes(8)
