"""What a daemon does when it is told to stop."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import transaction
from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

import zeotwisted
from tests.clientstorage.support import wait_until
from zeotwisted.exceptions import ClientDisconnected

from .conftest import ANYWHERE, SCRIPTS, TIMEOUT, Running, commit, environment, wait_for

pytestmark = pytest.mark.timeout(120)

OID_A, OID_B = (number.to_bytes(8, "big") for number in (1, 2))
Run = Callable[..., Running]


def begin(storage: Any, oid: bytes) -> Any:
    """Begin a transaction that stores an object."""
    txn = transaction.TransactionManager().begin()
    storage.tpc_begin(txn)
    storage.store(oid, z64, b"data", "", txn)
    return txn


def refuses(address: Any) -> bool:
    """Return whether nothing accepts connections at an address."""
    try:
        socket.create_connection(address, TIMEOUT).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("command", ["twistd", "twist"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_exit_code(run: Run, folder: Path, command: str, signum: signal.Signals) -> None:
    options = ["-n", "--pidfile="] if command == "twistd" else ["--log-format=text"]
    running = run(str(SCRIPTS / command), *options, "zeo", *ANYWHERE)
    commit(running.address, "x", 1)
    running.stop(signum)
    assert running.process.returncode == 0
    assert f"Received {signum.name}, shutting down." in running.output
    assert (folder / "Data.fs.index").exists()


def test_exit_code_when_a_storage_cannot_be_closed(folder: Path) -> None:
    (folder / "broken.py").write_text(
        "from ZODB.MappingStorage import MappingStorage\n"
        "class Broken(MappingStorage):\n"
        "    def close(self):\n"
        "        raise OSError('the disk is gone')\n"
        "class Section:\n"
        "    def __init__(self, section):\n"
        "        self.name = section.getSectionName()\n"
        "    def open(self):\n"
        "        return Broken()\n"
    )
    (folder / "component.xml").write_text("")
    package = folder / "brokenstorage"
    package.mkdir()
    (folder / "broken.py").rename(package / "__init__.py")
    (package / "component.xml").write_text(
        "<component>\n<import package='ZODB'/>\n<sectiontype name='broken' "
        "implements='ZODB.storage' datatype='brokenstorage.Section'/>\n</component>\n"
    )
    (folder / "zeo.conf").write_text(
        "%import brokenstorage\n<zeo>\naddress 127.0.0.1:0\n</zeo>\n<broken 1>\n</broken>\n"
    )
    variables = environment()
    variables["PYTHONPATH"] = f"{folder}:{variables['PYTHONPATH']}"
    command = [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "zeo", "-C", "zeo.conf"]
    running = Running(command, folder, 1, env=variables)
    assert running.stop() == 1
    assert "storage '1' cannot be closed" in running.output
    assert "the disk is gone" in running.output
    assert "Server Shut Down" in running.output


def test_a_voted_commit_finishes(
    daemon: Run, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    running = daemon(*ANYWHERE, "--drain-timeout", "60")
    caplog.set_level(logging.INFO, "zeotwisted.client")
    storage = zeotwisted.ClientStorage(running.address)
    waiting = zeotwisted.ClientStorage(running.address)
    bystander = zeotwisted.ClientStorage(running.address, wait_timeout=0.1)
    txn = begin(storage, OID_A)
    storage.tpc_vote(txn)
    second = begin(waiting, OID_B)
    errors: list[Exception] = []

    def vote() -> None:
        try:
            waiting.tpc_vote(second)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=vote)
    thread.start()
    running.process.send_signal(signal.SIGTERM)
    wait_for(running, "shutting down")
    wait_until("the port is closed", lambda: refuses(running.address))
    tid = storage.tpc_finish(txn)
    assert running.stop() == 0
    thread.join(TIMEOUT)
    (error,) = errors
    assert isinstance(error, ClientDisconnected), "a transient error: it is tried again"
    for each in (storage, waiting, bystander):
        each.close()
    with closing(FileStorage(str(folder / "Data.fs"), read_only=True)) as stored:
        assert stored.lastTransaction() == tid
    assert (folder / "Data.fs.index").exists()
    goodbyes = [record for record in caplog.records if "disconnected from" in record.getMessage()]
    assert len(goodbyes) == 3
    assert {record.levelno for record in goodbyes} == {logging.INFO}
    assert all("the server stops" in record.getMessage() for record in goodbyes)


@pytest.mark.parametrize("hurry", [False, True])
def test_a_client_that_does_not_finish(daemon: Run, folder: Path, hurry: bool) -> None:
    running = daemon(*ANYWHERE, "--drain-timeout", "1000" if hurry else "0.2")
    storage = zeotwisted.ClientStorage(running.address)
    txn = begin(storage, OID_A)
    storage.tpc_vote(txn)
    running.process.send_signal(signal.SIGTERM)
    wait_for(running, "shutting down")
    if hurry:
        running.process.send_signal(signal.SIGTERM)
        wait_for(running, "SIGTERM: the daemon stops already")
    wait_for(running, "its commit is aborted, as the server stops: its transaction ")
    running.process.wait(TIMEOUT)
    assert running.stop() == 0
    storage.close()
    with closing(FileStorage(str(folder / "Data.fs"), read_only=True)) as stored:
        assert stored.lastTransaction() == z64


_TAC = """
from twisted.application.service import Application
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from ZODB.MappingStorage import MappingStorage
from zeotwisted.storageserver import StorageServer

class Broken(MappingStorage):
    def close(self):
        raise OSError('the disk is gone')

application = Application('zeo')
server = StorageServer(reactor, {'1': MappingStorage()})
where = 'tcp:0:interface=127.0.0.1'
server.listen(serverFromString(reactor, where), where)
server.setServiceParent(application)
"""


def test_an_application_keeps_its_handlers(run: Run, folder: Path) -> None:
    """Twisted's own way to end: the signal can be seen in the exit code."""
    (folder / "zeo.tac").write_text(_TAC)
    running = run(str(SCRIPTS / "twistd"), "-n", "--pidfile=", "-y", "zeo.tac")
    assert running.stop() == 0
    assert running.process.returncode == -signal.SIGTERM


@pytest.mark.parametrize("kind, code", [("MappingStorage", 0), ("Broken", 1)])
def test_an_application_that_wants_our_exit_code(folder: Path, kind: str, code: int) -> None:
    text = _TAC.replace("{'1': MappingStorage()}", f"{{'1': {kind}()}}")
    (folder / "zeo.tac").write_text(f"{text}server.set_exit_code()\n")
    command = [str(SCRIPTS / "twistd"), "-n", "--pidfile=", "-y", "zeo.tac"]
    running = Running(command, folder, 1)
    running.stop()
    assert running.process.returncode == code, running.output
    assert "Received SIGTERM, shutting down." in running.output
