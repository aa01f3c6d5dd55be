"""`zeotwisted.server`: a server by a function call."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zeotwisted
from zeotwisted.config.server import ConfigurationError
from zeotwisted.daemon.opening import StartError

from .conftest import TIMEOUT, commit, environment, read

pytestmark = pytest.mark.timeout(180)
both = pytest.mark.parametrize("threaded", [True, False], ids=["thread", "process"])

TWO = "<mappingstorage 1>\n</mappingstorage>\n<mappingstorage two>\n</mappingstorage>\n"


@pytest.fixture
def server() -> Iterator[Callable[..., Any]]:
    """Start servers, which are stopped at the end."""
    stops = []

    def start(**arguments: Any) -> Any:
        address, stop = zeotwisted.server(**arguments)
        stops.append(stop)
        return address, stop

    yield start
    for stop in stops:
        stop()
    assert not [t for t in threading.enumerate() if t.name == "zeotwisted server reactor"]


def refuses(address: Any) -> bool:
    """Return whether nobody listens there."""
    try:
        socket.create_connection(address, TIMEOUT).close()
    except ConnectionRefusedError:
        return True
    return False


@both
def test_in_memory(server: Callable[..., Any], threaded: bool) -> None:
    address, stop = server(threaded=threaded)
    assert address[0] == "127.0.0.1"
    commit(address, "a", 1)
    assert read(address, "a") == 1
    stop()
    assert refuses(address)
    stop()


@both
def test_file(server: Callable[..., Any], threaded: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "Data.fs")
    blobs = tmp_path / "blobs"
    address, stop = server(path=path, blob_dir=str(blobs), threaded=threaded)
    commit(address, "a", 1)
    assert (blobs / ".layout").exists()
    with pytest.raises(StartError, match="is locked"):
        zeotwisted.server(path=path, threaded=threaded)
    stop()
    address, _ = server(path=path, threaded=threaded)
    assert read(address, "a") == 1


@both
def test_several_storages(server: Callable[..., Any], threaded: bool) -> None:
    address, _ = server(storage_conf=TWO, threaded=threaded)
    commit(address, "a", 1)
    commit(address, "a", 2, storage="two")
    assert read(address, "a") == 1
    assert read(address, "a", storage="two") == 2


@both
@pytest.mark.parametrize(
    "conf",
    [
        "<zeo>\n address 127.0.0.1:0\n protocol-limit 5\n</zeo>",
        {"protocol_limit": 5},
        {"protocol-limit": "5"},
    ],
)
def test_settings(server: Callable[..., Any], threaded: bool, conf: Any) -> None:
    address, _ = server(zeo_conf=conf, threaded=threaded)
    with socket.create_connection(address, TIMEOUT) as sock:
        assert sock.recv(100) == b"\0\0\0\2Z5"


@both
def test_unix_socket(server: Callable[..., Any], threaded: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    address, stop = server(zeo_conf={"address": path}, threaded=threaded)
    assert address == path
    commit(path, "a", 1)
    stop()
    assert not os.path.exists(path)


@both
def test_port_in_use(server: Callable[..., Any], threaded: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "Data.fs")
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(StartError, match="it is in use; "):
            zeotwisted.server(path=path, port=port, threaded=threaded)
    # It has let go of everything.
    address, _ = server(path=path, port=port, threaded=threaded)
    assert address == ("127.0.0.1", port)


@both
def test_missing_folder(threaded: bool, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        zeotwisted.server(path=str(tmp_path / "missing" / "Data.fs"), threaded=threaded)


@both
@pytest.mark.parametrize("conf", [{"nonsense": 1}, {"invalidation_queue_size": "many"}])
def test_bad_settings(threaded: bool, conf: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        zeotwisted.server(zeo_conf=conf, threaded=threaded)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open")
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_process_ends_with_its_parent(tmp_path: Path, signum: int) -> None:
    code = (
        "import zeotwisted;"
        "address, stop = zeotwisted.server(path='Data.fs', threaded=False);"
        "print(stop.process.pid, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        try:
            parent.send_signal(signum)
            parent.wait(TIMEOUT)
            assert select.select([child], [], [], TIMEOUT)[0], "the server process still runs"
        finally:
            os.close(child)


def test_process_that_was_killed_can_be_stopped(server: Callable[..., Any]) -> None:
    _, stop = server(threaded=False)
    stop.process.kill()
    stop()
    stop()


def test_many_servers_leave_nothing_open() -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    # A process of its own: nothing of other tests comes or goes there.
    code = (
        "import os, zeotwisted;"
        "count = lambda: len(os.listdir('/proc/self/fd'));"
        "zeotwisted.server()[1]();"
        "before = count();"
        "[zeotwisted.server()[1]() for _ in range(5)];"
        "assert count() <= before, (count(), before)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=TIMEOUT)


def test_eventlog_ends_with_the_server(
    server: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    handlers = list(logging.getLogger().handlers)
    log = tmp_path / "zeo.log"
    conf = (
        "<zeo>\n address 127.0.0.1:0\n</zeo>\n"
        f"<eventlog>\n <logfile>\n path {log}\n </logfile>\n</eventlog>"
    )
    for count in (1, 2):
        address, stop = server(zeo_conf=conf)
        commit(address, "a", 1)
        stop()
        assert log.read_text().count("listening at") == count
    logging.getLogger("application").error("later")
    assert "later" not in log.read_text()
    assert logging.getLogger().handlers == handlers


def test_functions_beside_the_packages() -> None:
    code = (
        "import zeotwisted, zeotwisted.storageserver.service as s;"
        "import zeotwisted.clientstorage.storage as c;"
        "from zeotwisted.storageserver import StorageServer;"
        "from zeotwisted.clientstorage import ClientStorage;"
        "assert (s.StorageServer, c.ClientStorage) == (StorageServer, ClientStorage);"
        "assert ClientStorage is zeotwisted.ClientStorage;"
        "address, stop = zeotwisted.server();"
        "storage = zeotwisted.client(address);"
        "assert type(storage) is ClientStorage;"
        "storage.close(); stop()"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), timeout=TIMEOUT, check=True)


def test_no_reactor_is_installed() -> None:
    code = (
        "import sys, zeotwisted;"
        "address, stop = zeotwisted.server();"
        "zeotwisted.connection(address).close(); stop();"
        "assert 'twisted.internet.reactor' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), timeout=TIMEOUT, check=True)
