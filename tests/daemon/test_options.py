"""Every option of ``twistd zeo``, seen from a client."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transaction
from persistent.mapping import PersistentMapping
from ZODB.POSException import ConflictError, ReadOnlyError

import zeotwisted
from tests.clientstorage.support import wait_until
from zeotwisted.exceptions import ClientDisconnected, TransactionTimeout
from zeotwisted.protocol.oids import split

from .conftest import (
    ANYWHERE,
    ROOT,
    SCRIPTS,
    TIMEOUT,
    Running,
    addresses_in,
    commit,
    environment,
    opened,
    read,
)

Daemon = Callable[..., Running]
pytestmark = pytest.mark.timeout(180)


def test_defaults_serve_Data_fs_with_blobs(daemon: Daemon, folder: Path) -> None:
    running = daemon(*ANYWHERE)
    commit(running.address, "a", 1)
    assert read(running.address, "a") == 1
    assert (folder / "Data.fs").exists()
    assert (folder / "blobs" / ".layout").exists()
    assert running.stop() == 0
    # It is there after a restart, and the lock is free.
    assert read(daemon(*ANYWHERE).address, "a") == 1


def test_stops_on_interrupt(daemon: Daemon) -> None:
    assert daemon(*ANYWHERE).stop(signal.SIGINT) == 0


def test_stops_while_clients_are_connected(daemon: Daemon) -> None:
    running = daemon(*ANYWHERE)
    with opened(running.address):
        assert running.stop() == 0


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_listens_at_several_places(daemon: Daemon, folder: Path) -> None:
    path = str(folder / "s")
    places = [*ANYWHERE, "--listen", f"unix:{path}:mode=600"]
    count = 2
    if _has_ipv6():
        places += ["--listen", r"tcp6:0:interface=\:\:1"]
        count = 3
    running = daemon(*places, listeners=count)
    assert path in running.addresses
    for number, address in enumerate(running.addresses):
        commit(address, "n", number)
        for other in running.addresses:
            assert read(other, "n") == number
    assert os.stat(path).st_mode & 0o777 == 0o600
    running.stop()
    assert not os.path.exists(path)


def test_replaces_a_socket_that_was_left_behind(daemon: Daemon, folder: Path) -> None:
    place = ("--listen", f"unix:{folder / 's'}")
    daemon(*place).stop(signal.SIGKILL)
    assert (folder / "s").exists()
    assert read(daemon(*place).address, "a") is None


def test_systemd_socket(run: Daemon) -> None:
    code = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3);"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='zeo');"
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    with socket.create_server(("127.0.0.1", 0)) as sock:
        number = sock.fileno()
        running = run(
            *(sys.executable, "-c", code, str(number), str(SCRIPTS / "twistd"), "-n", "zeo"),
            *("--listen", "systemd:domain=INET:index=0"),
            pass_fds=(number,),
        )
        assert running.address == sock.getsockname()
    commit(running.address, "a", 1)
    assert read(running.address, "a") == 1


def test_file_and_blob_dir(daemon: Daemon, folder: Path) -> None:
    running = daemon(*ANYWHERE, "--file", "other.fs", "--blob-dir", "other-blobs")
    commit(running.address, "a", 1)
    assert (folder / "other.fs").exists()
    assert (folder / "other-blobs" / ".layout").exists()
    assert not (folder / "Data.fs").exists()


def test_file_without_blob_dir(daemon: Daemon, folder: Path) -> None:
    commit(daemon(*ANYWHERE, "-f", str(folder / "o ther$.fs")).address, "a", 1)
    assert (folder / "o ther$.fs").exists()
    assert not (folder / "blobs").exists()


def test_several_storages(daemon: Daemon, folder: Path) -> None:
    running = daemon(*ANYWHERE, "--file", "main.fs", "--storage", "temp=Temp.fs", "-s", "more=M.fs")
    for name in ("1", "temp", "more"):
        commit(running.address, "name", name, storage=name)
    for name in ("1", "temp", "more"):
        assert read(running.address, "name", storage=name) == name
    assert {path.name for path in folder.glob("*.fs")} == {"main.fs", "Temp.fs", "M.fs"}


def test_only_named_storages(daemon: Daemon, folder: Path) -> None:
    running = daemon(*ANYWHERE, "--storage", "temp=Temp.fs")
    commit(running.address, "a", 1, storage="temp")
    assert not (folder / "Data.fs").exists()


def test_read_only(daemon: Daemon) -> None:
    running = daemon(*ANYWHERE)
    commit(running.address, "a", 1)
    running.stop()
    running = daemon(*ANYWHERE, "--read-only")
    assert read(running.address, "a", read_only=True) == 1
    with pytest.raises(ReadOnlyError), opened(running.address, read_only=True) as connection:
        connection.root()["a"] = 2
        transaction.commit()


@pytest.mark.parametrize(("size", "remembered"), [(2, False), (20, True)])
def test_invalidation_queue_size(daemon: Daemon, size: int, remembered: bool) -> None:
    running = daemon(
        *ANYWHERE,
        f"--invalidation-queue-size={size}",
        "--invalidation-queue-bytes=0",
        "--invalidation-age=0",
    )
    commit(running.address, "a", 0)
    with opened(running.address) as connection:
        storage = connection.db().storage
        before = storage.lastTransaction()
        for number in range(1, 6):
            connection.root()["a"] = number
            transaction.commit()
        answer = storage._link.call("getInvalidations", before)
    assert (answer is not None) is remembered


@pytest.mark.parametrize(
    "options",
    [
        ["--invalidation-queue-bytes=0", "--invalidation-age=3600"],
        ["--invalidation-queue-bytes=0"],
        ["--invalidation-age=0"],
    ],
    ids=["age", "age by default", "bytes by default"],
)
def test_more_than_the_queue_is_told(daemon: Daemon, options: list[str]) -> None:
    running = daemon(*ANYWHERE, "--invalidation-queue-size=2", *options)
    commit(running.address, "a", 0)
    with opened(running.address) as connection:
        storage = connection.db().storage
        before = storage.lastTransaction()
        for number in range(1, 6):
            connection.root()["a"] = number
            transaction.commit()
        tid, oids = storage._link.call("getInvalidations", before)
        assert tid == storage.lastTransaction()
        # The queue may name one as often as it was changed.
        assert set(split(oids)) == {connection.root()._p_oid}


def test_transaction_timeout(daemon: Daemon) -> None:
    running = daemon(*ANYWHERE, "--transaction-timeout", "0.2")
    with opened(running.address) as connection:
        storage = connection.db().storage
        other = zeotwisted.ClientStorage(running.address)
        txn = transaction.TransactionManager().begin()
        storage.tpc_begin(txn)
        storage.tpc_vote(txn)
        # It gets the commit lock when the first transaction is aborted.
        second = transaction.TransactionManager().begin()
        other.tpc_begin(second)
        other.tpc_vote(second)
        other.tpc_finish(second)
        other.close()
        with pytest.raises(TransactionTimeout, match=r"for more than 0.2 seconds after its vote"):
            storage.tpc_finish(txn)
        storage.tpc_abort(txn)
        assert storage.is_connected()
    running.stop()
    assert "Transaction timeout after 0.2 seconds" in running.output


class Adding(PersistentMapping):
    """Its conflicts are resolved by addition, where this class can be imported."""

    def _p_resolveConflict(
        self, old: dict[str, Any], saved: dict[str, Any], new: dict[str, Any]
    ) -> dict[str, Any]:
        total = saved["data"]["n"] + new["data"]["n"] - old["data"]["n"]
        return {"data": {"n": total}}


@pytest.fixture
def of_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a module that the daemon does not have."""
    module = types.ModuleType("of_the_client")
    module.Adding = Adding  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(Adding, "__module__", module.__name__)


def _add_twice(address: Any) -> int:
    commit(address, "c", Adding(n=0))
    with opened(address) as connection:
        managers = transaction.TransactionManager(), transaction.TransactionManager()
        one, two = (connection.db().open(manager) for manager in managers)
        one.root()["c"]["n"] += 1
        two.root()["c"]["n"] += 2
        managers[0].commit()
        try:
            managers[1].commit()
        finally:
            managers[1].abort()
            one.close()
            two.close()
    with opened(address) as connection:
        return int(connection.root()["c"]["n"])


@pytest.mark.usefixtures("of_the_client")
def test_client_conflict_resolution(daemon: Daemon) -> None:
    assert _add_twice(daemon(*ANYWHERE, "--client-conflict-resolution").address) == 3


@pytest.mark.usefixtures("of_the_client")
def test_conflict_that_the_server_cannot_resolve(daemon: Daemon) -> None:
    running = daemon(*ANYWHERE)
    assert _add_twice(running.address) == 3, "it is left to the client"
    running.stop()
    running = daemon(*ANYWHERE, "--conflict-classes", "*")
    with pytest.raises(ConflictError):
        _add_twice(running.address)
    running.stop()
    # ZODB logs that it lacks the class.
    assert "tryToResolveConflict" in running.output
    running.output = ""


@pytest.mark.parametrize(
    ("options", "stock", "own"),
    [
        ((), b"Z6", b"M6"),
        (("--msgpack",), b"M6", b"M6"),
        (("--protocol-limit", "5"), b"Z5", b"Z5"),
        (("--protocol-limit", "5", "--msgpack"), b"M5", b"M5"),
    ],
)
def test_protocols(daemon: Daemon, options: tuple[str, ...], stock: bytes, own: bytes) -> None:
    running = daemon(*ANYWHERE, *options)
    with socket.create_connection(running.address, TIMEOUT) as sock:
        assert sock.recv(100) == b"\0\0\0\2" + stock
    with opened(running.address) as connection:
        assert connection.db().storage._link.protocol().version == own


def test_message_limit(daemon: Daemon) -> None:
    running = daemon(*ANYWHERE, "--message-limit", "64KB")
    commit(running.address, "a", "x" * 60_000)
    with pytest.raises(ClientDisconnected):
        commit(running.address, "a", "x" * 70_000)
    running.stop()
    assert "disconnected" in running.output


def test_conf(daemon: Daemon, folder: Path) -> None:
    (folder / "my.conf").write_text(
        "<zeo>\n address 127.0.0.1:0\n pid-filename zeo.pid\n</zeo>\n"
        "<filestorage 1>\n path a.fs\n</filestorage>\n"
        "<mappingstorage m>\n</mappingstorage>\n"
    )
    running = daemon("--conf", "my.conf")
    commit(running.address, "a", 1)
    commit(running.address, "a", 2, storage="m")
    assert read(running.address, "a") == 1
    assert int((folder / "zeo.pid").read_text()) == running.process.pid
    running.stop()
    assert not (folder / "zeo.pid").exists()


def test_conf_with_unix_socket(daemon: Daemon, folder: Path) -> None:
    path = folder / "z.sock"
    (folder / "my.conf").write_text(
        f"<zeo>\n address {path}\n</zeo>\n<mappingstorage>\n</mappingstorage>\n"
    )
    running = daemon("-C", "my.conf")
    commit(str(path), "a", 1)
    assert path.stat().st_mode & 0o777 == 0o600
    running.stop()
    assert not path.exists()


# Other ways to start


def test_twist(run: Daemon) -> None:
    running = run(str(SCRIPTS / "twist"), "--log-format", "text", "zeo", *ANYWHERE)
    commit(running.address, "a", 1)
    assert running.stop() == 0


def _with_free_port(name: str, folder: Path) -> Path:
    text = (ROOT / "etc" / name).read_text()
    assert "8100" in text
    shutil.copy(ROOT / "etc" / name, folder)
    path = folder / name
    path.write_text(text.replace("8100", "0"))
    return path


def test_etc_tac(run: Daemon, folder: Path) -> None:
    path = _with_free_port("zeo.tac", folder)
    running = run(str(SCRIPTS / "twistd"), "-n", "-y", str(path))
    commit(running.address, "a", 1)
    assert (folder / "blobs").exists()
    running.stop()
    assert running.process.returncode == 0, "it does not end by the signal"


def test_etc_conf(daemon: Daemon, folder: Path) -> None:
    running = daemon("-C", str(_with_free_port("zeo.conf", folder)))
    commit(running.address, "a", 1)
    assert (folder / "blobs").exists()


def _ended(pid: int) -> None:
    """Wait until a process, which may not be our child, is gone."""
    number = os.pidfd_open(pid)
    try:
        assert select.select([number], [], [], TIMEOUT)[0], f"process {pid} still runs"
    finally:
        os.close(number)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open")
@pytest.mark.parametrize("way", ["options", "tac"])
def test_in_the_background(folder: Path, way: str) -> None:
    if way == "tac":
        arguments = ["-y", str(_with_free_port("zeo.tac", folder))]
    else:
        arguments = ["zeo", *ANYWHERE]
    subprocess.run(
        [SCRIPTS / "twistd", *arguments],
        cwd=folder,
        env=environment(),
        timeout=TIMEOUT,
        check=True,
    )
    # By now it listens; otherwise twistd would have failed.
    pid = int((folder / "twistd.pid").read_text())
    try:
        # A thread writes the log.
        log = folder / "twistd.log"
        wait_until("the log says where", lambda: log.exists() and addresses_in(log.read_text()))
        (address,) = addresses_in(log.read_text())
        commit(address, "a", 1)
        assert read(address, "a") == 1
    finally:
        os.kill(pid, signal.SIGTERM)
        _ended(pid)
    assert not (folder / "twistd.pid").exists()
    assert "Traceback" not in (folder / "twistd.log").read_text()


def test_help(folder: Path) -> None:
    result = subprocess.run(
        [SCRIPTS / "twistd", "zeo", "--help"],
        cwd=folder,
        env=environment(),
        timeout=TIMEOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    for option in ("--listen", "--file", "--storage", "--conf", "--message-limit"):
        assert option in result.stdout


def test_file_with_the_number_of_process_1(run: Callable[..., Running], folder: Path) -> None:
    """A container's daemon is process 1, and so is whatever runs in the next one."""
    (folder / "twistd.pid").write_text("1")
    running = run(str(SCRIPTS / "twistd"), "-n", "zeo", *ANYWHERE)
    assert (folder / "twistd.pid").read_text() == str(running.process.pid)


@pytest.mark.parametrize("command", ["twistd", "twist"])
def test_version(command: str) -> None:
    output = subprocess.run(
        [SCRIPTS / command, "zeo", "--version"],
        env=environment(),
        timeout=TIMEOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output == f"zeotwisted {zeotwisted.__version__}\n"


def test_twist_without_a_terminal_logs_text(run: Callable[..., Running]) -> None:
    running = run(str(SCRIPTS / "twist"), "zeo", *ANYWHERE)
    assert f"zeotwisted {zeotwisted.__version__} starts" in running.output
    assert "log_format" not in running.output


def test_log_at_standard_output_has_each_line_once(
    daemon: Callable[..., Running], folder: Path
) -> None:
    (folder / "zeo.conf").write_text(
        "<zeo>\n address 127.0.0.1:0\n</zeo>\n<mappingstorage 1>\n</mappingstorage>\n"
        "<eventlog>\n <logfile>\n  path STDOUT\n </logfile>\n</eventlog>\n"
    )
    running = daemon("-C", "zeo.conf")
    running.stop()
    assert running.output.count("listening at") == 1
    assert running.output.count("Main loop terminated") == 1
