"""A log that cannot be written, or that nobody reads, does not keep the daemon from serving."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import ANYWHERE, SCRIPTS, TIMEOUT, Running, commit, environment, opened, read

pytestmark = pytest.mark.timeout(120)

CONF = """
<zeo>
  address 127.0.0.1:0
</zeo>
<filestorage 1>
  path Data.fs
</filestorage>
<eventlog>
  level debug
  {section}
</eventlog>
"""

SECTIONS = {
    "full": "<logfile>\n path /dev/full\n</logfile>",
    "syslog": "<syslog>\n address {folder}/none\n</syslog>",
    "both": "<logfile>\n path /dev/full\n</logfile>\n<logfile>\n path good.log\n</logfile>",
}


def configured(folder: Path, section: str) -> str:
    section = section.format(folder=folder)
    (folder / "zeo.conf").write_text(CONF.format(section=section))
    return "zeo.conf"


@pytest.mark.parametrize("name", SECTIONS)
def test_eventlog(daemon: Callable[..., Running], folder: Path, name: str) -> None:
    running = daemon("-C", configured(folder, SECTIONS[name]))
    for number in range(20):
        commit(running.address, "x", number, client_label="a client with a label")
    assert read(running.address, "x") == 19
    assert running.stop() == 0
    assert len(running.output) < 100_000
    assert "Logging error" not in running.output
    if name == "both":
        assert "is a client with a label" in (folder / "good.log").read_text()


def test_log_of_twistd(folder: Path) -> None:
    conf = configured(folder, "<logfile>\n path good.log\n</logfile>")
    process = subprocess.Popen(
        [SCRIPTS / "twistd", "-n", "--pidfile=", "--logfile=/dev/full", "zeo", "-C", conf],
        cwd=folder,
        env=environment(),
    )
    try:
        # Its other log tells where it listens, and that nothing else goes on.
        log = folder / "good.log"
        while not (log.exists() and "listening at" in log.read_text()):
            assert process.poll() is None
    finally:
        process.terminate()
    assert process.wait(TIMEOUT) == -signal.SIGTERM
    assert "Traceback" not in log.read_text()


def test_pipe_that_nobody_reads(daemon: Callable[..., Running]) -> None:
    running = daemon(*ANYWHERE)
    assert running.process.stdout is not None
    os.set_blocking(running.process.stdout.fileno(), False)
    # Much more than a pipe takes; each client is worth some lines.
    with opened(running.address) as connection:
        for _ in range(3000):
            connection.db().storage._link.ready.oneway("set_client_label", "x" * 80)
        connection.db().storage.ping()
    commit(running.address, "x", 1)
    assert read(running.address, "x") == 1
    os.set_blocking(running.process.stdout.fileno(), True)
