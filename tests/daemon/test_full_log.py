"""A log that cannot be written, or that nobody reads, does not keep the daemon from serving."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clientstorage.support import wait_until

from .conftest import (
    ANYWHERE,
    SCRIPTS,
    TIMEOUT,
    Running,
    addresses_in,
    commit,
    environment,
    opened,
    read,
)

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


def test_named_pipe_that_nobody_reads(daemon: Callable[..., Running], folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    running = daemon("-C", configured(folder, "<logfile>\n path pipe\n</logfile>"))
    commit(running.address, "x", 1)
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    told = b""
    while b"lines of this log are lost: [Errno 6]" not in told:
        # Before the first line, there is no writer, and the pipe is at its end.
        with contextlib.suppress(BlockingIOError):
            told += os.read(reader, 4096)
    os.close(reader)
    commit(running.address, "x", 2)


def test_folder_that_vanishes(daemon: Callable[..., Running], folder: Path) -> None:
    (folder / "logs").mkdir()
    log = folder / "logs" / "zeo.log"
    running = daemon("-C", configured(folder, "<logfile>\n path logs/zeo.log\n</logfile>"))
    shutil.rmtree(folder / "logs")
    running.process.send_signal(signal.SIGHUP)
    commit(running.address, "x", 1)
    (folder / "logs").mkdir()
    wait_until("it is written again", lambda: log.exists() and log.read_text())
    running.stop()
    text = log.read_text()
    assert text.count("of this log") == 1
    assert "No such file or directory" in text
    assert "Main loop terminated" in text


STORAGE = """
import logging
from ZODB.MappingStorage import MappingStorage

class Storage(MappingStorage):
    def tpc_vote(self, transaction):
        logging.getLogger("storage").warning("%d", "no number")
        return super().tpc_vote(transaction)

class Opener:
    def __init__(self, config):
        self.config = config
        self.name = config.getSectionName()

    def open(self):
        return Storage()
"""

COMPONENT = """
<component>
  <sectiontype name="ours" implements="ZODB.storage" datatype="ours.Opener"/>
</component>
"""


def test_line_that_cannot_be_formatted(daemon: Callable[..., Running], folder: Path) -> None:
    """A slip in a line that a storage logs does not fail the commit."""
    (folder / "ours").mkdir()
    (folder / "ours" / "__init__.py").write_text(STORAGE)
    (folder / "ours" / "component.xml").write_text(COMPONENT)
    conf = CONF.format(section="<logfile>\n path good.log\n</logfile>")
    conf = conf.replace("<filestorage 1>\n  path Data.fs\n</filestorage>", "<ours 1>\n</ours>")
    (folder / "zeo.conf").write_text(f"%import ours\n{conf}")
    variables = environment()
    variables["PYTHONPATH"] = os.pathsep.join([str(folder), variables["PYTHONPATH"]])
    running = daemon("-C", "zeo.conf", env=variables)
    commit(running.address, "x", 1)
    assert read(running.address, "x") == 1
    running.stop()
    for text in (running.output, (folder / "good.log").read_text()):
        assert "'%d' with ('no number',)" in text


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
        (address,) = addresses_in(log.read_text())
        # It minds signals when its reactor runs.
        with socket.create_connection(address, TIMEOUT) as connection:
            assert connection.recv(1)
    finally:
        process.terminate()
    assert process.wait(TIMEOUT) == 0
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
